"""What would be seen on a drive through one of the world's rooms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unimm_eval.api.actions import Motion
from unimm_eval.tasks.rollout.commands import Command
from unimm_eval.tasks.rollout.driving import CONTEXT_FRAMES
from unimm_eval.world.poses import moved
from unimm_eval.world.rooms import WAYPOINT, Room, clearance, view
from unimm_eval.world.rooms_disk import recorded_path
from unimm_eval.world.rooms_words import SENTENCES, pillar_sentences

NEAREST = 0.25
"""Metres that a camera keeps from walls and pillars, as in training."""


@dataclass(frozen=True, kw_only=True)
class RoomTruth:
    """A room of the test split and the poses [4, 3] that a drive begins with."""

    room: Room
    poses: np.ndarray

    @classmethod
    def of(cls, index: int) -> "RoomTruth":
        room, poses = recorded_path(split="test", index=index, steps=CONTEXT_FRAMES - 1)
        return cls(room=room, poses=poses)

    def context(self) -> list[np.ndarray]:
        return list(view(self.room, self.poses))

    def frames(self, commands: Sequence[Command]) -> list[np.ndarray | None]:
        """What is seen after each command, as long as the room knows what it means and nothing
        stands in the way; None from there on."""
        pose, poses = self.poses[-1], []
        for command in commands:
            motion = command.motion or self._meant(command.label, pose)
            if motion is None:
                break
            pose = driven(pose, [motion])[0]
            if clearance(self.room, pose[:2]) < NEAREST:
                break
            poses.append(pose)
        known = list(view(self.room, np.array(poses))) if poses else []
        return [*known, *[None] * (len(commands) - len(known))]

    def _meant(self, sentence: str, pose: np.ndarray) -> Motion | None:
        return {**SENTENCES, **pillar_sentences(self.room, pose)}.get(sentence)


def driven(pose: np.ndarray, script: Sequence[Motion]) -> np.ndarray:
    """Poses [A, 3] after each motion."""
    poses = []
    for motion in script:
        pose = moved(pose, np.array((motion.dx, motion.dy, motion.dyaw)), spacing=WAYPOINT)
        poses.append(pose)
    return np.array(poses)
