"""How a small robot wanders through a room: unicycle motion that meets no wall and no pillar.

A step is 0.25 s. The robot wants a speed and a rate of turning, each for about ten steps and then
another, and follows them as its inertia allows; where that would lead too near to something it
turns away, and slows down where turning is not enough. In waypoint units it goes forward 0.875 a
step in the mean, as RECON's prior has it (NWM, data_hyperparams_plan.yaml), but its speed and
direction vary a lot more than RECON's 0.075, so that going straight ahead at the mean speed is a
poor guess (`tests/world/test_rooms.py` holds the numbers).
"""

import numpy as np

from unimm_eval.world.draw import coin
from unimm_eval.world.poses import wrapped
from unimm_eval.world.rooms import WAYPOINT, Room, clearance

MARGIN = 0.45
"""Metres that the robot keeps from walls and pillars."""

_FASTEST = 1.9  # waypoints a step; the slowest wish is none
_TURN_STD = 0.04  # radians a step that are wished for
_NEW_WISH = 0.1  # a step
_INERTIA = 0.6  # of what it did the step before
_AHEAD = 8  # steps that have to be free
_SWERVES = np.array([0, 1, -1, 2, -2, 3, -3, 5, -5, 7, -7, 10, -10]) * 0.025
_SPEEDS = (1.0, 0.8, 0.6, 0.4, 0.2)
_SPIN = 0.25  # radians a step, where there is no way
_TRIES = 1000


def sample_path(rng: np.random.Generator, room: Room, *, steps: int) -> np.ndarray:
    """Poses [steps + 1, 3] of a robot that wanders through `room`."""
    poses = np.empty((steps + 1, 3))
    poses[0] = _start(rng, room)
    wish = _wish(rng)
    speed, turn = wish
    for step in range(steps):
        if coin(rng, _NEW_WISH):
            wish = _wish(rng)
        speed = _INERTIA * speed + (1 - _INERTIA) * wish[0]
        turn = _INERTIA * turn + (1 - _INERTIA) * wish[1]
        speed, turn = _free(room, poses[step], speed, turn)
        poses[step + 1] = arc(poses[step], np.array([speed]), np.array([turn]), steps=1)[0, 0]
    return poses


def arc(pose: np.ndarray, speeds: np.ndarray, turns: np.ndarray, *, steps: int) -> np.ndarray:
    """Poses [N, steps, 3] after each of so many steps at a speed (waypoints a step) and a rate of
    turning (radians a step), N of each."""
    number = np.arange(1, steps + 1)
    yaw_NS = pose[2] + turns[:, None] * number
    heading_NS = yaw_NS - turns[:, None] / 2
    length_N1 = speeds[:, None] * WAYPOINT
    x_NS = pose[0] + np.cumsum(length_N1 * np.cos(heading_NS), axis=1)
    y_NS = pose[1] + np.cumsum(length_N1 * np.sin(heading_NS), axis=1)
    return np.stack((x_NS, y_NS, wrapped(yaw_NS)), axis=2)


def _wish(rng: np.random.Generator) -> tuple[float, float]:
    return _FASTEST * rng.random(), _TURN_STD * rng.standard_normal()


def _start(rng: np.random.Generator, room: Room) -> np.ndarray:
    """A pose with some room in front of it."""
    for _ in range(_TRIES):
        x, y, yaw = rng.random(3) * (room.width, room.depth, 2 * np.pi)
        path = arc(np.array((x, y, yaw)), np.ones(1), np.zeros(1), steps=_AHEAD)[0, ::2, :2]
        if clearance(room, np.array(((x, y), *path))).min() >= MARGIN:
            return np.array((x, y, wrapped(yaw)))
    raise ValueError(f"no free place in {room}")


def _free(room: Room, pose: np.ndarray, speed: float, turn: float) -> tuple[float, float]:
    """The nearest to what is wanted that stays clear for some steps. Where nothing does it turns on
    the spot, to the side that is more open."""
    for slower in _SPEEDS:
        turns = turn + np.copysign(_SWERVES, _SWERVES * turn)
        speeds = np.full_like(turns, speed * slower)
        paths = arc(pose, speeds, turns, steps=_AHEAD)
        free = clearance(room, paths[..., :2]).min(axis=1) >= MARGIN
        if free.any():
            return speed * slower, float(turns[np.argmax(free)])
    sides = arc(pose, np.ones(2), np.array((_SPIN, -_SPIN)), steps=_AHEAD)
    open_ = clearance(room, sides[..., :2]).min(axis=1)
    return 0.0, _SPIN if open_[0] >= open_[1] else -_SPIN
