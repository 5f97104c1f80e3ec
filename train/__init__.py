"""Training: recipes, data as a pure function of (recipe, seed, index), pretraining.

recipe.py      what is trained on what, as a file
mixture.py     packed row k of a recipe
parallel.py    the processes of a run, and how they agree
parallelize.py how a model is laid over devices: experts, recomputation, compilation, shards
batches.py     the batch of each step, a rank's share of it
totals.py      what a step came to over all ranks
guard.py       what stops a run, with its batch
throughput.py  FLOPs of a step and peaks of devices
log.py         one line a step
track.py       wandb or trackio
evaluation.py  judged while training goes on
optimizer.py   AdamW with fp32 master weights, their average, and the learning-rate schedule
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
