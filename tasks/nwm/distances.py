"""How far a predicted frame is from the goal: what the planner minimises.

`to(goal)` gives the distances of frames to that goal.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from unimm_eval.judges.lpips_distance import LpipsDistance
from unimm_eval.tasks.nwm import classifier
from unimm_eval.tasks.nwm.planner import DistancesToGoal


class GoalDistance(Protocol):
    def to(self, goal: np.ndarray) -> DistancesToGoal:
        """`goal` is uint8 [height, width, 3]; frames of other sizes are brought to its size."""


class LpipsGoalDistance:
    """LPIPS on AlexNet."""

    def __init__(self, path: Path, *, device: str) -> None:
        """`path` is torchvision's AlexNet. Raises UserError when it is not."""
        self._network = LpipsDistance(path, device=device)

    def to(self, goal: np.ndarray) -> DistancesToGoal:
        return lambda frames: np.array(self._network.to_one(resized(frames, goal.shape), goal))


class ClassifierGoalDistance:
    """Euclidean distance of the features of a small classifier of the world's rooms."""

    def to(self, goal: np.ndarray) -> DistancesToGoal:
        features_F = classifier.features_of([goal])[0]

        def distances(frames: np.ndarray) -> np.ndarray:
            apart_NF = classifier.features_of(frames) - features_F
            return np.asarray(np.linalg.norm(apart_NF.astype(np.float64), axis=1))

        return distances


def resized(frames: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """Each frame at the height and width of `shape`, as Pillow scales bilinearly."""
    from PIL import Image

    height, width = shape[:2]
    if frames.shape[1:3] == (height, width):
        return list(frames)
    size, filter_ = (width, height), Image.Resampling.BILINEAR
    return [np.asarray(Image.fromarray(frame).resize(size, filter_)) for frame in frames]
