"""What a person may tell the robot in words, and what the room's truth is about it.

Sentences of one meaning move the camera alike, whatever stands around; those about a pillar that is
in sight turn to it and go nearer.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from unimm_eval.api.actions import Motion
from unimm_eval.world.draw import coin, pick
from unimm_eval.world.poses import seen_from
from unimm_eval.world.rooms import WAYPOINT, Room

_MEANINGS: tuple[tuple[Motion, tuple[str, ...]], ...] = (
    (Motion(dx=1.0), ("go forward", "move ahead", "walk on", "one step forward")),
    (Motion(dx=3.0), ("go far forward", "take a big step forward", "run ahead")),
    (Motion(dx=-1.0), ("go back", "step back", "move backward")),
    (Motion(dyaw=0.5), ("turn left", "look left", "turn to the left")),
    (Motion(dyaw=-0.5), ("turn right", "look right", "turn to the right")),
    (Motion(dx=1.0, dyaw=0.5), ("go left", "walk to the left", "forward and left")),
    (Motion(dx=1.0, dyaw=-0.5), ("go right", "walk to the right", "forward and right")),
    (Motion(), ("stay", "wait", "do not move")),
)
SENTENCES: Mapping[str, Motion] = MappingProxyType(
    {sentence: motion for motion, sentences in _MEANINGS for sentence in sentences}
)
"""Each sentence that means the same in every room, and its motion."""

_SEEN = 0.6  # radians off the middle of the view
_NEARER = 2.0  # waypoints
_LEFT_OVER = 3.0  # waypoints that stay between the camera and a pillar


def pillar_sentences(room: Room, pose: np.ndarray) -> dict[str, Motion]:
    """Sentences about the pillars in front of the camera, and where each leads to from `pose`."""
    places = np.array([(pillar.x, pillar.y, 0.0) for pillar in room.pillars]).reshape(-1, 3)
    found = {}
    for pillar, (ahead, left, _) in zip(
        room.pillars, seen_from(pose, places, spacing=WAYPOINT), strict=True
    ):
        angle, distance = float(np.arctan2(left, ahead)), float(np.hypot(ahead, left))
        if abs(angle) > _SEEN or distance < _NEARER + _LEFT_OVER:
            continue
        dx, dy = _NEARER * np.cos(angle), _NEARER * np.sin(angle)
        found[f"go to the {pillar.color} pillar"] = Motion(dx=float(dx), dy=float(dy), dyaw=angle)
        found[f"look at the {pillar.color} pillar"] = Motion(dyaw=angle)
    return found


def sample_sentence(rng: np.random.Generator, room: Room, pose: np.ndarray) -> tuple[str, Motion]:
    """Something to be told at `pose`, and its motion; about a pillar half of the time."""
    about = pillar_sentences(room, pose)
    options = about if about and coin(rng) else SENTENCES
    sentence = pick(rng, tuple(options))
    return sentence, options[sentence]
