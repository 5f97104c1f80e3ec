"""Evaluation while training goes on: the checkpoint as it is, judged every so many steps.

What judges is handed in by the program (the public `evaluate()`): training knows nothing of tasks.
Results go to the run's log and to `evaluations.jsonl`; one that fails is named there and costs
nothing else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unimm_eval.train.export import write_checkpoint
from unimm_eval.train.pretrain import Pretraining

EVALUATIONS = "evaluations"
LINES = "evaluations.jsonl"

Judge = Callable[[Path, Path], Mapping[str, float]]
"""Metrics by name of the checkpoint in a folder; whatever else it makes is kept in another one."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Judges the moving average of the weights where the recipe has one, else the weights.

    The checkpoint is `evaluations/checkpoint` of the run's folder, until the next one; what the
    judge keeps is in `evaluations/step-…`. `say` is told what went wrong.
    """

    judge: Judge
    every: int
    say: Callable[[str], None]

    def __call__(self, run: Pretraining) -> dict[str, Any]:
        """What was measured, or `failed` and why. One rank judges and the others wait."""
        folder = run.folder / EVALUATIONS
        failed = ""
        try:
            write_checkpoint(run, folder / "checkpoint", ema=run.recipe.ema is not None)
        except OSError as error:
            failed = f"the checkpoint cannot be written: {error}"
        found: dict[str, Any] = {}
        if run.ranks.first:
            found = {"failed": failed} if failed else self._judged(folder, run.step)
            _append(run.folder / LINES, {"step": run.step, **found}, self.say)
        run.ranks.wait()
        return found

    def _judged(self, folder: Path, step: int) -> dict[str, Any]:
        threads, random = torch.get_num_threads(), torch.get_rng_state()
        try:
            return dict(self.judge(folder / "checkpoint", folder / f"step-{step:07d}"))
        except Exception as error:  # noqa: BLE001 - training does not stop for it
            what = f"{type(error).__name__}: {error}"
            self.say(f"step {step}: the evaluation failed, training goes on: {what}")
            return {"failed": what}
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(random)


def _append(path: Path, line: dict[str, Any], say: Callable[[str], None]) -> None:
    """A step that was trained again after a stop is written again; the last line counts."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        say(f"{path} cannot be written: {error}")
