"""Many edits through a workflow in a running host, scored and shown: `python -m x2edit_core.evaluate CONFIG`.

Read in this order: `config` says what is run, `cases` what is edited, `places` where a graph takes a case, `scores` what
is measured, `run` does it and `report` shows it. `scenes` is the short way for scenes alone.
"""
