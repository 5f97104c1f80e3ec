"""States of a run that is going on, taken out without disturbing it.

Training removes old states as new ones come. A state's files never change once they have their
name, so they are linked into a folder of our own and exported from there, however long that takes.
"""

import os
import shutil
from pathlib import Path

from unimm_eval.api import UserError
from unimm_eval.train.export import export_run
from unimm_eval.train.log import LOG
from unimm_eval.train.pretrain import RECIPE
from unimm_eval.train.recipe import load_recipe
from unimm_eval.train.state import STATE


def landed(run: Path) -> list[int]:
    """Steps of the states that stand in the folder of a run, from the oldest to the newest."""
    return sorted(int(path.parent.name.removeprefix("state-")) for path in run.glob(f"*/{STATE}"))


def last_step(run: Path) -> int:
    """The step that a run ends with. Raises UserError where there is no run."""
    if not (run / RECIPE).is_file():
        raise UserError(
            f"{run}: not a training run, there is no {RECIPE}",
            fix="Give the --output of unimm-train.",
        )
    return load_recipe(run / RECIPE).steps


def export_landed(run: Path, step: int, output: Path) -> bool:
    """Write the state after `step` steps as a checkpoint folder; False where it is gone already.

    With a moving average it is the average. Raises UserError where the state is damaged.
    """
    taken = output.with_name(f"{output.name}.taken")
    shutil.rmtree(taken, ignore_errors=True)
    state = taken / f"state-{step:07d}"
    state.mkdir(parents=True)
    try:
        for name in (RECIPE, "tokenizer.json", LOG):
            shutil.copyfile(run / name, taken / name)
        for file in (run / state.name).iterdir():
            _link(file, state / file.name)
    except FileNotFoundError:
        shutil.rmtree(taken)
        return False
    try:
        export_run(taken, output, ema=load_recipe(taken / RECIPE).ema is not None)
    finally:
        shutil.rmtree(taken)
    return True


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
