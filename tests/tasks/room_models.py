"""Models that predict frames of rooms: one that knows the truth, and one that stands still."""

import numpy as np

from unimm_eval.api.actions import parse_action
from unimm_eval.world.poses import moved
from unimm_eval.world.rooms import WAYPOINT, view
from unimm_eval.world.rooms_words import SENTENCES


class Oracle:
    """Shows what would be seen. It knows a place by the last frame of a context: those that it is
    told of (`knows`), and those that it predicted itself."""

    name = "oracle"
    fingerprint = "0" * 16

    def __init__(self):
        self._places = {}
        self.opened = []

    def knows(self, room, pose, frame):
        self._places[frame.tobytes()] = room, pose

    def describe(self):
        return {}

    def open_context(self, frames):
        arrays = [frame.load() for frame in frames]
        self.opened.append(arrays)
        return _Known(self, *self._places[arrays[-1].tobytes()])


class _Known:
    def __init__(self, oracle, room, pose):
        self.oracle, self.room, self.pose = oracle, room, pose

    def rollout(self, actions, *, seeds, keep="last", **_):
        assert len(seeds) == len(actions)
        rows = [self._driven(texts) for texts in actions]
        return np.stack(rows if keep == "all" else [row[-1:] for row in rows])

    def _driven(self, texts):
        pose, frames = self.pose, []
        for text in texts:
            motion = parse_action(text) or SENTENCES[text]
            pose = moved(pose, np.array((motion.dx, motion.dy, motion.dyaw)), spacing=WAYPOINT)
            frames.append(view(self.room, pose[None])[0])
            self.oracle.knows(self.room, pose, frames[-1])
        return np.stack(frames)


class Still:
    """Predicts the frame that it saw last, `noise` levels off where a seed says so."""

    name = "still"
    fingerprint = "1" * 16

    def __init__(self, noise=0):
        self.noise = noise
        self.opened = []

    def describe(self):
        return {}

    def open_context(self, frames):
        self.opened.append([frame.load() for frame in frames])
        return _Frozen(self.opened[-1][-1], self.noise)


class _Frozen:
    def __init__(self, frame, noise):
        self.frame, self.noise = frame, noise

    def rollout(self, actions, *, seeds, keep="last", **_):
        rows = []
        for texts, seed in zip(actions, seeds, strict=True):
            rng = np.random.default_rng(seed)
            shape = (len(texts), *self.frame.shape)
            rough = self.frame + rng.integers(-self.noise, self.noise + 1, size=shape)
            rows.append(rough.clip(0, 255).astype(np.uint8))
        return np.stack(rows if keep == "all" else [row[-1:] for row in rows])
