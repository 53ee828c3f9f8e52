"""Fuzzing of everything that reads files or answers of others: what each reader may do, and whether it keeps to it.

`readers.py` lists the readers with valid inputs to start from, `guard.py` watches what a call does to the machine.
`tests/core/test_fuzz.py` runs them on drawn inputs; `python -m fuzz`, from the folder above, with coverage as a guide.
"""
