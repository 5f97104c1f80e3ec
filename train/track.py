"""Trackers of experiments, by choice: wandb or trackio, which have the same few functions.

One run of ours is one of theirs, also after a stop: its identifier is kept in the run's folder.
"""

import importlib
import json
import uuid
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.train.log import StepLog, flat_metrics
from unimm_eval.train.recipe import Recipe

TRACKERS = ("wandb", "trackio")
PROJECT = "unimm-train"


class Tracker:
    """Sends every step. Raises UserError for a tracker that is not known or not installed."""

    def __init__(self, name: str, recipe: Recipe, folder: Path) -> None:
        if name not in TRACKERS:
            raise UserError(f"--track {name}: neither {' nor '.join(TRACKERS)}")
        try:
            self._library: Any = importlib.import_module(name)
        except ImportError as error:
            raise UserError(
                f"--track {name}: {name} is not installed", fix="pip install 'unimm-eval[track]'"
            ) from error
        config = json.loads(recipe.model_dump_json(exclude_none=True))
        if name == "wandb":
            self._library.init(
                project=PROJECT,
                name=recipe.name,
                id=_identifier(folder),
                dir=str(folder),
                config=config,
                resume="allow",
            )
        else:  # trackio knows a run by its name
            self._library.init(
                project=PROJECT,
                name=f"{recipe.name}-{_identifier(folder)}",
                config=config,
                resume="allow",
            )

    def __call__(self, entry: StepLog) -> None:
        self._library.log(flat_metrics(entry), step=entry.step)

    def close(self) -> None:
        self._library.finish()


def _identifier(folder: Path) -> str:
    path = folder / "tracking.txt"
    if not path.exists():
        path.write_text(uuid.uuid4().hex[:12] + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
