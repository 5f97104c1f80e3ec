"""Poses on a plane and the motions between them.

A pose is (x, y, yaw): metres and radians, counter-clockwise from the x axis. A motion is seen from
the pose before it, in waypoint units: x ahead, y to the left (`api.actions`).
"""

import numpy as np

from unimm_eval.api.actions import Motion


def wrapped(angle: np.ndarray | float) -> np.ndarray:
    """The same angle in [-π, π)."""
    return (np.asarray(angle) + np.pi) % (2 * np.pi) - np.pi


def seen_from(pose: np.ndarray, others: np.ndarray, *, spacing: float) -> np.ndarray:
    """Poses [N, 3] as motions [N, 3] from `pose` [3]; `spacing` is metres a waypoint."""
    x, y = (others[:, :2] - pose[:2]).T / spacing
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.stack((cos * x + sin * y, cos * y - sin * x, wrapped(others[:, 2] - pose[2])), axis=1)


def moved(pose: np.ndarray, motion: np.ndarray, *, spacing: float) -> np.ndarray:
    """The pose [3] that a motion [3] leads to: the inverse of `seen_from`."""
    x, y, turn = motion
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    ahead = np.array((cos * x - sin * y, sin * x + cos * y)) * spacing
    return np.array((*(pose[:2] + ahead), wrapped(pose[2] + turn)))


def local_actions(positions: np.ndarray, yaw: np.ndarray, i: int, spacing: float) -> np.ndarray:
    """Where poses i+1, i+2, … stand, seen from pose i: motions [T - 1 - i, 3] in waypoint units.

    `positions` [T, 2] are metres, `yaw` [T] radians, `spacing` metres a waypoint. These are NWM's
    waypoints; `steps_of` are the motions from each pose to the next.
    """
    poses = np.column_stack((positions, yaw))
    return seen_from(poses[i], poses[i + 1 :], spacing=spacing)


def steps_of(waypoints: np.ndarray) -> np.ndarray:
    """The motion of each step, seen from the pose before it, [N, 3], of poses [N, 3] that are all
    seen from where the first step begins."""
    before = np.concatenate((np.zeros((1, 3)), waypoints[:-1]))
    steps = [seen_from(a, b[None], spacing=1.0)[0] for a, b in zip(before, waypoints, strict=True)]
    return np.stack(steps) if steps else np.zeros((0, 3))


def waypoints_of(steps: np.ndarray) -> np.ndarray:
    """Where each of these steps [N, 3] ends, seen from where the first begins: the inverse of
    `steps_of`."""
    pose, poses = np.zeros(3), []
    for step in steps:
        pose = moved(pose, step, spacing=1.0)
        poses.append(pose)
    return np.stack(poses) if poses else np.zeros((0, 3))


def as_motion(motion: np.ndarray) -> Motion:
    dx, dy, dyaw = (float(value) for value in motion)
    return Motion(dx=dx, dy=dy, dyaw=dyaw)
