"""Planning on recordings: instances of an index, in folders of NWM's format."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import Sample, make_samples
from unimm_eval.tasks.nwm.task import PlanningTask
from unimm_eval.tasks.recordings import (
    CONTEXT,
    content_of,
    context_of,
    fault_of,
    frames_of,
    trajectory_at,
)
from unimm_eval.world.nwm_index import Instance
from unimm_eval.world.poses import local_actions

_DIGITS = 9
"""Of truths in waypoint units: beyond them machines differ."""


class RecordedPlanning(PlanningTask):
    """Four frames of a recording, and the one `horizon` frames later as the goal."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder of trajectories. Raises UserError."""

    @property
    @abstractmethod
    def instances(self) -> Sequence[Instance]:
        """Raises UserError."""

    @property
    @abstractmethod
    def spacing(self) -> float:
        """Metres a waypoint."""

    @property
    @abstractmethod
    def view_size(self) -> int:
        """Pixels a side of what a model is shown, and of what is compared with the goal."""

    @property
    @abstractmethod
    def says_content(self) -> bool:
        """Whether samples hold a hash of their pictures: of pictures that the user brought."""

    def samples(self) -> Iterator[Sample]:
        """One an instance, in the order of the index; the trajectory is the cluster. What cannot be
        used is there with its `fault`."""
        return iter(self._samples)

    @cached_property
    def _samples(self) -> list[Sample]:
        return list(make_samples(map(self._row, self.instances), repeats=self.plans_each))

    def _row(self, instance: Instance) -> tuple[dict[str, Any], str]:
        name, time, horizon = instance.trajectory, instance.frame, self.config.horizon
        inputs: dict[str, Any] = {"trajectory": name, "time": time, "goal": time + horizon}
        shown = [*CONTEXT, horizon]
        if fault := fault_of(self.root, instance, frames=shown, poses=range(horizon + 1)):
            return {**inputs, "fault": fault}, name
        trajectory = trajectory_at(self.root, name)
        after = local_actions(trajectory.positions, trajectory.yaw, time, self.spacing)[:horizon]
        inputs |= {"spacing": self.spacing, "truth": np.round(after, _DIGITS).tolist()}
        if self.says_content:
            inputs["content"] = content_of(trajectory, [time + i for i in shown])
        return inputs, name

    def views(self, sample: Sample) -> tuple[Sequence[np.ndarray], np.ndarray]:
        inputs, size = sample.inputs, self.view_size
        trajectory = trajectory_at(self.root, inputs["trajectory"])
        goal = frames_of(trajectory, [inputs["goal"]], size=size)[0]
        return context_of(trajectory, inputs["time"], size=size), goal
