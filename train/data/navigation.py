"""Robots' trajectories in NWM's layout: 4 frames, an action as text, the frame that it leads to.

Every moment that has 3 frames before it and as many behind it as the greatest distance is a record;
which of the frames ahead is its target is drawn once for each. The action is where the target was
seen from, as the last of the 4 frames sees it (`api/actions.py`).
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from unimm_eval.api import SampleError, UserError
from unimm_eval.api.actions import action_text
from unimm_eval.model.sequence import Document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.frames import SPECIAL, transition_document
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.schema import NavigationSource
from unimm_eval.train.data.show import Shown
from unimm_eval.world.nwm_datasets import dataset
from unimm_eval.world.nwm_folder import (
    CONVERTED,
    PICKLE,
    Trajectory,
    read_trajectory,
    trajectory_names,
)
from unimm_eval.world.nwm_pictures import shown as as_nwm_shows
from unimm_eval.world.poses import as_motion, local_actions

CONTEXT = 4
_OPEN = 64  # trajectories whose poses and listings are kept


class Navigation(Records):
    """Moments of trajectories."""

    def __init__(self, spec: NavigationSource, files: Sequence[Path], folder: Path) -> None:
        self._root = Path(spec.path).expanduser()
        self._names = [file.parent.name for file in files]
        self._nearest, self._farthest = spec.distance
        self._spacing = dataset(spec.dataset).spacing
        self._first = np.load(folder / "first.npy")
        self._trajectory = lru_cache(_OPEN)(lambda name: read_trajectory(self._root, name))

    @staticmethod
    def files(spec: NavigationSource, name: str) -> list[Path]:
        root = Path(spec.path).expanduser()
        names = trajectory_names(root)
        if spec.trajectories is not None:
            wanted = _listed(Path(spec.trajectories).expanduser())
            if missing := sorted(set(wanted) - set(names)):
                raise UserError(
                    f"sources.{name}: {len(missing)} of {len(wanted)} trajectories are not in "
                    f"{root}, such as {missing[0]}"
                )
            names = sorted(set(wanted))
        return [
            root / one / (PICKLE if (root / one / PICKLE).is_file() else CONVERTED) for one in names
        ]

    @staticmethod
    def index(spec: NavigationSource, files: Sequence[Path], folder: Path) -> None:
        counts = []
        for file in files:
            try:
                poses = len(read_trajectory(Path(spec.path).expanduser(), file.parent.name))
            except SampleError:
                counts.append(1)  # a record that says why it is bad
            else:
                counts.append(max(0, poses - (CONTEXT - 1) - spec.distance[1]))
        np.save(folder / "first.npy", np.cumsum([0, *counts]))

    def __len__(self) -> int:
        return int(self._first[-1])

    def place(self, number: int) -> str:
        name, last = self._find(number)
        return f"{name}:{last}"

    def read(self, number: int) -> Record | None:
        name, last = self._find(number)
        try:
            trajectory: Trajectory = self._trajectory(name)
        except SampleError as error:
            raise BadRecord(error.what) from error
        target = last + self._nearest + _drawn(number) % (self._farthest - self._nearest + 1)
        motions = local_actions(trajectory.positions, trajectory.yaw, last, self._spacing)
        try:
            action = action_text(as_motion(motions[target - last - 1]))
        except ValueError as error:
            raise BadRecord(str(error)) from error
        frames = [*range(last - CONTEXT + 1, last + 1), target]

        def load(begin: int, end: int) -> list[np.ndarray]:
            wanted = frames[begin:end]
            return [np.array(as_nwm_shows(trajectory.frame(i).load())) for i in wanted]

        return Record(
            texts=[action],
            pictures=len(frames),
            special=SPECIAL + 2 * len(frames),
            load=load,
            condition=CONTEXT,
        )

    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        return transition_document(
            tokenizer, shown, context=CONTEXT, results=1, action=record.texts[0]
        )

    def _find(self, number: int) -> tuple[str, int]:
        """The trajectory of a record, and the last frame that is given."""
        at = int(np.searchsorted(self._first, number, side="right")) - 1
        return self._names[at], number - int(self._first[at]) + CONTEXT - 1


def _listed(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _drawn(number: int) -> int:
    """A random number of a record, the same in each epoch and in each run."""
    return int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:4], "little")
