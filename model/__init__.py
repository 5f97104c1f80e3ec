"""The unified model: one decoder-only transformer over text tokens and picture latents.

config.py      every size and choice of an architecture
presets.py     the paper's models and the demo, by name
counts.py      parameters, FLOPs and memory of a configuration
meta.py        a model with shapes and no memory
attention.py   the hybrid mask, attention, the key-value cache
feedforward.py dense, per-modality and mixture-of-experts feed-forward layers
dispatch.py    experts of other ranks: tokens travel to them and back
shards.py      sharded weights, filled from whole ones
backbone.py    the transformer
flow.py        flow matching: time shift, targets, Euler steps
encoders/      pictures to latents and back
unified.py     embeddings, projections and heads around the backbone; the losses
sequence.py    documents of text and pictures packed into batches
tokenizer.py   byte-level BPE and the special tokens
generate/      text, pictures, both and frames, from a cache
checkpoint.py  the folder on disk

The room imports nothing of ours.
"""
