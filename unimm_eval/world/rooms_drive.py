"""Drives through rooms to learn from: four frames, then actions and the frames they lead to.

| kind | share | what the actions are |
|---|---|---|
| steps | 0.30 | the wandering robot's steps of 0.25 s |
| jumps | 0.25 | its motion over 2 to 8 steps as one action (NWM's time skip) |
| leaps | 0.20 | what a planner might try, wherever a robot would go; then straight ahead |
| keys | 0.15 | W, A, S and D |
| words | 0.10 | sentences |

Six drives in ten have one action; the others have up to six (of jumps as many as take 16 steps), as
a rollout has: each frame stays, so the next one has one more to look at.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unimm_eval.api.actions import WASD, Motion, action_text
from unimm_eval.world.draw import coin, pick
from unimm_eval.world.poses import as_motion, moved, seen_from
from unimm_eval.world.rooms import WAYPOINT, Room, clearance, sample_room, view
from unimm_eval.world.rooms_motion import sample_path
from unimm_eval.world.rooms_words import sample_sentence

CONTEXT = 4
"""Frames that are given."""
KINDS = {"steps": 0.30, "jumps": 0.25, "leaps": 0.20, "keys": 0.15, "words": 0.10}
LONGEST_JUMP = 8
MOST_ACTIONS = 6

_ONE_ACTION = 0.6
_MOST_STEPS = 16
_NEAREST = 0.25  # metres that a camera keeps from things where no robot has to pass
_FARTHEST = 14.0  # waypoints of a leap
_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Drive:
    """`context` uint8 [4, S, S, 3], then N actions and the frames uint8 [N, S, S, 3] they lead to;
    `poses` [4 + N, 3] are where the frames were seen from."""

    kind: str
    room: Room
    poses: np.ndarray
    context: np.ndarray
    actions: tuple[str, ...]
    frames: np.ndarray


def sample_drive(
    rng: np.random.Generator, *, kind: str | None = None, most_actions: int = MOST_ACTIONS
) -> Drive:
    """A drive of `kind`, or of any kind with the share that it has."""
    shares = np.cumsum(list(KINDS.values()))
    drawn = tuple(KINDS)[min(int(np.searchsorted(shares, rng.random())), len(KINDS) - 1)]
    kind = drawn if kind is None else kind
    room = sample_room(rng)
    count = 1 if coin(rng, _ONE_ACTION) else 2 + int(rng.random() * (MOST_ACTIONS - 1))
    count = min(count, most_actions)
    if kind in ("steps", "jumps"):
        stride = 1 if kind == "steps" else 2 + int(rng.random() * (LONGEST_JUMP - 1))
        count = min(count, _MOST_STEPS // stride)
        path = sample_path(rng, room, steps=CONTEXT - 1 + stride * count)
        poses = np.concatenate((path[:CONTEXT], path[CONTEXT - 1 + stride :: stride]))
        actions = [_between(poses[i], poses[i + 1]) for i in range(CONTEXT - 1, len(poses) - 1)]
    else:
        poses = sample_path(rng, room, steps=CONTEXT - 1)
        poses, actions = _told(rng, room, poses, count=count, order=_ORDERS[kind])
    seen = view(room, poses)
    return Drive(
        kind=kind,
        room=room,
        poses=poses,
        context=seen[:CONTEXT],
        actions=tuple(actions),
        frames=seen[CONTEXT:],
    )


_Order = Callable[[np.random.Generator, Room, np.ndarray, int], tuple[str, Motion]]
"""The action number N at a pose: its text and its motion."""


def _told(
    rng: np.random.Generator, room: Room, poses: np.ndarray, *, count: int, order: _Order
) -> tuple[np.ndarray, list[str]]:
    """The poses with those that up to `count` actions lead to, and the actions. What would end in a
    wall or pillar is drawn again; where only that can be drawn, the drive ends, after a stay if it
    had no action yet."""
    driven, actions = list(poses), list[str]()
    while len(actions) < count:
        for _ in range(_TRIES):
            text, motion = order(rng, room, driven[-1], len(actions))
            step = np.array((motion.dx, motion.dy, motion.dyaw))
            pose = moved(driven[-1], step, spacing=WAYPOINT)
            if clearance(room, pose[:2]) >= _NEAREST:
                driven.append(pose)
                actions.append(text)
                break
        else:
            break
    if not actions:
        driven.append(driven[-1])
        actions.append(action_text(Motion()))
    return np.array(driven), actions


def _leap(rng: np.random.Generator, _: Room, __: np.ndarray, number: int) -> tuple[str, Motion]:
    """Any distance, near ones more often, in about the direction of view; the camera then faces
    where it went, or elsewhere. What follows goes straight ahead."""
    length, angle = _FARTHEST * rng.random() ** 2, 0.5 * rng.standard_normal()
    faced = angle + 0.2 * rng.standard_normal() if coin(rng) else 0.6 * rng.standard_normal()
    motion = Motion(dx=length * np.cos(angle), dy=length * np.sin(angle), dyaw=faced)
    if number:
        motion = Motion(dx=1.75 * rng.random())
    return action_text(motion), motion


def _key(rng: np.random.Generator, _: Room, __: np.ndarray, ___: int) -> tuple[str, Motion]:
    motion = WASD[pick(rng, tuple(WASD))]
    return action_text(motion), motion


def _sentence(rng: np.random.Generator, room: Room, pose: np.ndarray, _: int) -> tuple[str, Motion]:
    return sample_sentence(rng, room, pose)


_ORDERS: dict[str, _Order] = {"leaps": _leap, "keys": _key, "words": _sentence}


def _between(pose: np.ndarray, following: np.ndarray) -> str:
    return action_text(as_motion(seen_from(pose, following[None], spacing=WAYPOINT)[0]))
