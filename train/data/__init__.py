"""Training data of the user: declared in a recipe, measured once, read by the number of the row.

schema.py      what a recipe says of a source
"""
