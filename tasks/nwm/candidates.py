"""What a candidate of the planner is: a straight line, and a turn at its end.

A candidate is (dx, dy, phi) in NWM's normalised space: each of the H steps goes the same way
(dx, dy), the robot faces where it goes from the first step on, and turns by phi·π more with the
last. Otherwise lengths are waypoint units (metres over the data set's mean distance of two frames)
and angles radians; x is ahead, y to the left, yaw counter-clockwise.

Shapes: N candidates, H waypoints, S motions of a rollout; the last axis is x, y and, if 3, yaw.
"""

from typing import Literal

import numpy as np

from unimm_eval.api.actions import action_text
from unimm_eval.world.nwm_datasets import ACTION_HIGH, ACTION_LOW
from unimm_eval.world.poses import as_motion

Protocol = Literal["released", "corrected"]
"""`released` does as NWM's code does, `corrected` what it means to do: see the task's README."""

_LOW, _HIGH = np.array(ACTION_LOW), np.array(ACTION_HIGH)
"""Steps in waypoint units that −1 and 1 of the normalised space stand for, on every data set."""


def to_waypoints(normalised: np.ndarray) -> np.ndarray:
    """[..., 2] of the normalised space in waypoint units."""
    return (normalised + 1) / 2 * (_HIGH - _LOW) + _LOW


def to_normalised(steps: np.ndarray) -> np.ndarray:
    """[..., 2] in waypoint units in the normalised space."""
    return (steps - _LOW) / (_HIGH - _LOW) * 2 - 1


def poses_of(candidates: np.ndarray, *, horizon: int) -> np.ndarray:
    """[N, H, 3]: position and heading at each waypoint, seen from where the candidates begin."""
    step_N2 = to_waypoints(candidates[:, :2])
    poses_NH3 = np.empty((len(candidates), horizon, 3))
    poses_NH3[..., :2] = step_N2[:, None] * np.arange(1, horizon + 1)[:, None]
    poses_NH3[..., 2] = np.arctan2(step_N2[:, 1], step_N2[:, 0])[:, None]
    poses_NH3[:, -1, 2] += candidates[:, 2] * np.pi
    return poses_NH3


def motions_of(
    candidates: np.ndarray, *, horizon: int, stride: int, protocol: Protocol
) -> np.ndarray:
    """[N, S, 3]: what a model is told, `stride` waypoints at a time.

    `corrected`: each motion as it is seen from the frame before it, as models are trained: the
    first turns the robot to where it goes, the others go straight ahead.
    `released`: (dx, dy) as it is seen from the first frame, in every step, so that a model that
    takes it as seen from the frame before bends the line by its heading once more; and of several
    steps at once the *normalised* numbers are summed, which is not the number of the sum.
    Raises ValueError when the stride does not divide the horizon.
    """
    if horizon % stride:
        raise ValueError(f"a stride of {stride} does not divide {horizon} waypoints")
    step_N2 = to_waypoints(candidates[:, :2])
    motions_NS3 = np.zeros((len(candidates), horizon // stride, 3))
    if protocol == "released":
        motions_NS3[..., :2] = to_waypoints(stride * candidates[:, None, :2])
    else:
        motions_NS3[..., 0] = stride * np.hypot(step_N2[:, 0], step_N2[:, 1])[:, None]
        motions_NS3[:, 0, :2] = stride * step_N2
    motions_NS3[:, 0, 2] = np.arctan2(step_N2[:, 1], step_N2[:, 0])
    motions_NS3[:, -1, 2] += candidates[:, 2] * np.pi
    return motions_NS3


def texts_of(motions: np.ndarray) -> list[str]:
    """The text of each motion [S, 3] of a candidate."""
    return [action_text(as_motion(motion)) for motion in motions]
