"""Pictures → training pairs, scored and traceable: `python -m x2edit_core.dataset CONFIG`.

Read in this order: `config` says what is made, `sources` of what, `shards` and `journal` how it survives a kill;
`instructions`, `edits`, `scores` and `decide` are the stages, `chain` takes one record through them, `run` all of them;
`release` writes what was accepted, `report` shows how it went, `validate` looks at any set.
"""
