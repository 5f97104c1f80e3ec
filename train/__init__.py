"""Training: recipes, data as a pure function of (recipe, seed, index), pretraining.

recipe.py      what is trained on what, as a file
mixture.py     packed row k of a recipe
parallel.py    ranks of a data-parallel run
log.py         one line a step
optimizer.py   AdamW with fp32 master weights, and the learning-rate schedule
loss_weights.py  fixed, or centred on each other
parent.py      warm start from a checkpoint
pretrain.py    the loop: train, save, go on exactly
state.py       training state on disk
info.py        what an architecture costs
export.py      checkpoint folders from runs
curve.py       the loss curve as a table and a figure
recipes/       recipes in use
tools/         captions made, actions annotated, corpora measured
"""
