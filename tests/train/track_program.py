"""Sends two lines, stops, and sends two more: `python track_program.py wandb|trackio FOLDER`."""

import sys
from pathlib import Path

from small_recipe import small_recipe

from unimm_eval.train.log import StepLog
from unimm_eval.train.track import Tracker


def line(step):
    return StepLog(
        step=step,
        text_loss=1.5 * step,
        flow_loss=2.0,
        text_weight=1.0,
        flow_weight=3.0,
        balance=1.0,
        grad_norm=1.0,
        learning_rate=1e-3,
        tokens=5,
        image_tokens=1,
        seconds=0.1,
        tokens_per_second=50.0,
    )


for steps in ((1, 2), (3, 4)):
    tracker = Tracker(sys.argv[1], small_recipe(), Path(sys.argv[2]))
    for step in steps:
        tracker(line(step))
    tracker.close()
