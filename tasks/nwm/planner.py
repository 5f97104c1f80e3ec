"""A plan for one instance: the Cross-Entropy Method over what a model predicts.

Shapes: N candidates, R rollouts of each, H waypoints; 3 = x, y and yaw.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from unimm_eval.api import FrameContext, Picture, PredictsFrames, Solver
from unimm_eval.tasks.nwm.candidates import motions_of, poses_of, texts_of
from unimm_eval.tasks.nwm.cem import Cem, Iteration, Prior
from unimm_eval.world.poses import moved

CONTEXT_FRAMES = 4

DistancesToGoal = Callable[[np.ndarray], np.ndarray]
"""uint8 [N, height, width, 3] → float64 [N]: how far each frame is from the goal."""


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How a frame is made of noise."""

    guidance_scale: float
    num_inference_steps: int
    solver: Solver


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`poses` [H, 3] at the waypoints, seen from the last frame of the context; the frame that the
    model predicts at the last of them and how far it is from the goal; what each search, one for
    every time it was planned, went through."""

    poses: np.ndarray
    frame: np.ndarray
    distance: float
    searches: tuple[tuple[Iteration, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Planner:
    """`rollouts` of each candidate, of which the mean distance counts, `stride` waypoints to a
    predicted frame, at most `max_sequences` rollouts asked for at once.

    After `replan_every` waypoints the rest is planned anew behind the frames that the model
    predicts up to there: recordings show nothing of where the robot did not go.
    """

    cem: Cem
    prior: Prior
    horizon: int
    stride: int
    replan_every: int
    rollouts: int
    denoising: Denoising
    max_sequences: int

    def plan(
        self,
        model: PredictsFrames,
        context: Sequence[np.ndarray],
        distances_to_goal: DistancesToGoal,
        *,
        drawing: np.random.Generator,
        noise: np.random.Generator,
    ) -> Plan:
        """`drawing` draws candidates, `noise` the seeds of frames. Each context is opened once for
        all candidates, rollouts and iterations of a search."""
        frames, poses, begin = list(context), list[np.ndarray](), np.zeros(3)
        searches: list[tuple[Iteration, ...]] = []
        left = self.horizon
        while left:
            opened = model.open_context([Picture(array=frame) for frame in frames])
            best, search = self.cem.search(
                self.prior,
                partial(self._distances, opened, left, distances_to_goal, noise),
                rng=drawing,
            )
            searches.append(tuple(search))
            taken = min(self.replan_every, left)
            texts = self._texts(best[None], left)[0][: taken // self.stride]
            predicted = self._rollout(opened, [texts], noise, keep="all")[0]
            driven = poses_of(best[None], horizon=left)[0, :taken]
            poses += [moved(begin, pose, spacing=1.0) for pose in driven]
            begin = poses[-1]
            frames = [*frames, *predicted][-CONTEXT_FRAMES:]
            left -= taken
        distance = float(distances_to_goal(frames[-1][None])[0])
        return Plan(
            poses=np.stack(poses),
            frame=frames[-1],
            distance=distance,
            searches=tuple(searches),
        )

    def _distances(
        self,
        opened: FrameContext,
        horizon: int,
        distances_to_goal: DistancesToGoal,
        noise: np.random.Generator,
        candidates: np.ndarray,
    ) -> np.ndarray:
        """[N, R]. All rollouts are alike to the model: they share batches."""
        texts = [row for row in self._texts(candidates, horizon) for _ in range(self.rollouts)]
        found = [
            distances_to_goal(self._rollout(opened, part, noise, keep="last")[:, -1])
            for part in _parts(texts, self.max_sequences)
        ]
        return np.concatenate(found).reshape(len(candidates), self.rollouts)

    def _texts(self, candidates: np.ndarray, horizon: int) -> list[list[str]]:
        motions = motions_of(
            candidates, horizon=horizon, stride=self.stride, protocol=self.cem.protocol
        )
        return [texts_of(row) for row in motions]

    def _rollout(
        self, opened: FrameContext, texts: list[list[str]], noise: np.random.Generator, *, keep: Any
    ) -> np.ndarray:
        seeds = noise.integers(0, 2**63 - 1, size=len(texts)).tolist()
        return opened.rollout(
            texts,
            seeds=seeds,
            keep=keep,
            guidance_scale=self.denoising.guidance_scale,
            num_inference_steps=self.denoising.num_inference_steps,
            solver=self.denoising.solver,
        )


def _parts(texts: list[list[str]], size: int) -> Iterator[list[list[str]]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))
