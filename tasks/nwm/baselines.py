"""What plans are compared with: paths that ask no model, on the same instances.

stand_still  the robot stays where it is
straight     straight ahead at the mean speed: the mean of the prior
random       a candidate drawn from the prior: the mean over those that were drawn
best         of all candidates that the search looked at, the one nearest to the truth, in hindsight
by_lot       the planner with an elite drawn by lot, which is what a model that knows nothing gets
"""

from collections.abc import Sequence

import numpy as np

from unimm_eval.tasks.nwm.candidates import poses_of
from unimm_eval.tasks.nwm.cem import Prior
from unimm_eval.tasks.nwm.metrics import PathErrors, closed_form, path_errors

BASELINES = ("stand_still", "straight", "random", "best")
_LOTS = 64


def baseline_errors(
    truth: np.ndarray, prior: Prior, iterations: Sequence[np.ndarray]
) -> dict[str, PathErrors]:
    """Errors of each, for waypoints [H, 2] and the candidates [N, 3] of each iteration."""
    horizon = len(truth)

    def paths(candidates: np.ndarray) -> np.ndarray:
        return poses_of(candidates, horizon=horizon)[..., :2]

    seen = paths(np.concatenate(iterations))
    best = seen[np.argmin(closed_form(truth, seen)[0])]
    ate, rpe = closed_form(truth, paths(iterations[0]))
    return {
        "stand_still": path_errors(truth, np.zeros_like(truth)),
        "straight": path_errors(truth, paths(np.array([prior.mean]))[0]),
        "random": PathErrors(ate=float(ate.mean()), rpe=float(rpe.mean())),
        "best": path_errors(truth, best),
    }


def by_lot(truth: np.ndarray, candidates: np.ndarray, *, topk: int) -> float:
    """Mean ATE of plans whose elite is drawn by lot from the first candidates [N, 3]."""
    rng = np.random.default_rng(0)
    elites = [rng.permutation(len(candidates))[:topk] for _ in range(_LOTS)]
    plans = np.stack([candidates[elite].mean(axis=0) for elite in elites])
    paths = poses_of(plans, horizon=len(truth))[..., :2]
    return float(closed_form(truth, paths)[0].mean())
