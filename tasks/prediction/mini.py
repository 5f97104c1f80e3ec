"""`prediction:mini`: seconds ahead in recordings of the world's rooms."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Sample, TaskConfig, make_samples
from unimm_eval.tasks.prediction.task import PredictionConfig, PredictionTask
from unimm_eval.tasks.recordings import CONTEXT
from unimm_eval.world.nwm_folder import Trajectory
from unimm_eval.world.rooms import WAYPOINT
from unimm_eval.world.rooms_disk import name_of, room_trajectory
from unimm_eval.world.scenes import CANVAS

_FIRST = 1000
"""Rooms before that belong to other tasks."""


class PredictionMiniConfig(PredictionConfig):
    recordings: int = Field(16, ge=1, description="rooms, with one instance each")
    horizons: tuple[int, ...] = Field(
        (1, 2, 4), min_length=1, description="seconds ahead that are looked at"
    )
    rates: tuple[int, ...] = Field((1,), description="frames a second of rollouts: 1, 2 or 4")
    num_inference_steps: int = Field(10, ge=1, description="solver steps of each picture")
    size: int = Field(
        CANVAS, ge=32, le=1024, description="pixels a side of what the model is shown"
    )


class PredictionMini(PredictionTask):
    """What a robot sees seconds later, told how it moves."""

    Config: ClassVar[type[TaskConfig]] = PredictionMiniConfig
    config: PredictionMiniConfig

    def samples(self) -> Iterator[Sample]:
        """An instance a recording, once for every mode; the recording is the cluster."""
        return make_samples(self._rows())

    def _rows(self) -> Iterator[tuple[dict[str, Any], str]]:
        frame = -CONTEXT[0]
        for index in range(_FIRST, _FIRST + self.config.recordings):
            name = name_of("test", index)
            for mode in self.modes:
                actions = self.actions(self.trajectory(name), frame, mode, spacing=WAYPOINT)
                yield (
                    {"trajectory": name, "frame": frame, "mode": mode, "actions": actions},
                    name,
                )

    def trajectory(self, name: str) -> Trajectory:
        return _recording(int(name.rpartition("_")[2]), self.ahead[-1], self.config.size)


@lru_cache(maxsize=64)
def _recording(index: int, ahead: int, size: int) -> Trajectory:
    return room_trajectory(split="test", index=index, steps=ahead - CONTEXT[0], size=size)
