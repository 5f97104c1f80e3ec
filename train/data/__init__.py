"""Training data of the user: declared in a recipe, measured once, read by the number of the row.

schema.py      what a recipe says of a source
sources.py     declared sources, opened
text:          texts.py (files), tokens.py (one sequence, cut into rows)
with pictures: records.py, and by kind captions.py, video.py, actions.py, navigation.py,
               conversations.py
files:         files.py, lines.py (JSONL), shards.py (tar), pairs.py, pixels.py, film.py (videos)
measure.py     tokens of every record, once; store.py keeps them
packing.py     documents into rows; finite.py a packed source
shares.py      which source row k is of; order.py which of its rows
show.py        pictures encoded, clean or noised; frames.py transitions
latents.py     latents that were encoded once; encode.py makes them
bad.py         records that are left out
"""
