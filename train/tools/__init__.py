"""Tools that make and measure training data (paper, appendix G).

rows.py       JSONL files, folders of captioned pictures, folders of frames, as rows with an id
skipped.py    rows that cannot be used: named, counted, too many of them stop a tool
folder.py     a folder of results: one process, pinned to what was asked, files whole or absent
journal.py    answers as they come, append-only
asking.py     questions to a server, its answers into a journal
prompts.py    what is asked, and where it is from
results.py    what a tool leaves
recaption.py  new captions of pictures (G.2)
actions.py    what happened between frames, checked by who said it (G.3)
sampling.py   a uniform sample of a corpus
embedding.py  text to unit vectors: a local model, or a server
distance.py   how far corpora are apart (G.4)
"""
