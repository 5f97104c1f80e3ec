"""`nwm:mini`: planning in the embedded world's rooms, on recordings in NWM's format."""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from pydantic import Field

from unimm_eval.api import TaskConfig
from unimm_eval.tasks.nwm import classifier
from unimm_eval.tasks.nwm.candidates import Protocol
from unimm_eval.tasks.nwm.cem import Prior
from unimm_eval.tasks.nwm.distances import ClassifierGoalDistance, GoalDistance
from unimm_eval.tasks.nwm.recorded import RecordedPlanning
from unimm_eval.tasks.nwm.task import PlanningConfig
from unimm_eval.world.draw import Split
from unimm_eval.world.nwm_folder import write_trajectory
from unimm_eval.world.nwm_index import Instance, read_index
from unimm_eval.world.poses import seen_from
from unimm_eval.world.rooms import WAYPOINT, Room, view
from unimm_eval.world.rooms_disk import name_of, recorded_path
from unimm_eval.world.scenes import CANVAS

PRIOR = Prior(mean=(-0.08, 0.0, 0.0), std=(0.09, 0.046, 0.085))
"""Of the straight lines nearest to such drives of the world's training split."""

NEAREST, WIDEST = 4.0, np.pi / 4
"""Waypoints that a goal is away at least, and how far it is turned at most: half of the view, so
that what it shows was seen before. Nobody can predict a wall that was never in view."""

_FIRST = 2000
"""Rooms before that belong to other tasks."""
_STEPS = 40
_EVERY = 8
_BEFORE = 3
_INDEX = "navigation_eval.json"


class NwmMiniConfig(PlanningConfig):
    instances: int = Field(24, ge=1, description="drives, each in a room of its own")
    protocol: Protocol = Field("corrected", description="released, or corrected: see nwm")
    num_repeats: int = Field(1, ge=1, description="rollouts of a candidate, or plans")
    num_samples: int = Field(120, ge=1, description="candidates an iteration")
    rollout_stride: int = Field(8, ge=1, description="waypoints to a predicted frame")
    num_inference_steps: int = Field(1, ge=1, description="solver steps of each picture")
    guidance_scale: float = Field(1.0, ge=1, description="classifier-free guidance; 1 is none")


class NwmMini(RecordedPlanning):
    """Paths through rooms to a goal that has been in view."""

    Config: ClassVar[type[TaskConfig]] = NwmMiniConfig
    config: NwmMiniConfig

    @cached_property
    def _folder(self) -> "TemporaryDirectory[str]":
        """The recordings on disk, for as long as the task lives."""
        folder = TemporaryDirectory(prefix="unimm-eval-nwm-")
        root, horizon = Path(folder.name), self.config.horizon
        rows = []
        drives = islice(
            drives_to_goals("test", first=_FIRST, horizon=horizon), self.config.instances
        )
        for index, room, poses, start in drives:
            poses = poses[: start + horizon + 1]
            name = name_of("test", index)
            write_trajectory(
                root,
                name=name,
                positions=poses[:, :2],
                yaw=poses[:, 2],
                frames=view(room, poses),
            )
            rows.append([name, start, horizon, horizon])
        (root / _INDEX).write_text(json.dumps(rows), encoding="utf-8")
        return folder

    @property
    def root(self) -> Path:
        return Path(self._folder.name)

    @cached_property
    def instances(self) -> Sequence[Instance]:
        return read_index(self.root / _INDEX)

    @property
    def spacing(self) -> float:
        return WAYPOINT

    @property
    def prior(self) -> Prior:
        return PRIOR

    @property
    def view_size(self) -> int:
        return CANVAS

    @property
    def says_content(self) -> bool:
        return False

    @property
    def distance_label(self) -> str:
        return classifier.label()

    def open_distance(self, device: str) -> GoalDistance:
        return ClassifierGoalDistance()


def drives_to_goals(
    split: Split, *, first: int, horizon: int
) -> Iterator[tuple[int, Room, np.ndarray, int]]:
    """(number of the recording, its room, its poses [T, 3], frame where the instance begins): of
    each recording the first instance of `t = 3 + 8k`, as NWM's are, whose goal fits."""
    for index in count(first):
        room, poses = recorded_path(split=split, index=index, steps=_STEPS)
        for start in range(_BEFORE, len(poses) - horizon, _EVERY):
            x, y, turn = seen_from(poses[start], poses[start + horizon][None], spacing=WAYPOINT)[0]
            if np.hypot(x, y) >= NEAREST and abs(turn) <= WIDEST:
                yield index, room, poses, start
                break
