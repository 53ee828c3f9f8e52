"""Edits as people have them on disk: one record, one reader a format, for training and evaluation alike.

Read in this order: `pairs` is what every reader yields, `texts` how words are read, `folders` how files are found,
`readers` the formats, `survey` what is said where none fits, `summary` what a data set turned out to be.
"""
