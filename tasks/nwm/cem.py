"""The Cross-Entropy Method as NWM plans with it (planning_eval.py of facebookresearch/nwm).

Candidates are drawn from a Gaussian, a model says how near to the goal each would lead, and the
Gaussian is fitted to the best; the plan is its mean, not the best candidate.

Shapes: N candidates, R rollouts of each, 3 = (dx, dy, phi) in the normalised space.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.tasks.nwm.candidates import Protocol
from unimm_eval.world.nwm_datasets import DATASETS, dataset


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The Gaussian that the first candidates are drawn from, in the normalised space.

    NWM's file calls the second row `var_scale` and its paper a variance; its code, and this one,
    multiply by it: it is the standard deviation.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def prior_of(name: str) -> Prior:
    """NWM's own of a data set. Raises UserError for one that it does not plan on."""
    known = dataset(name)
    if known.prior_mean is None or known.prior_std is None:
        planned = [name for name, each in DATASETS.items() if each.prior_mean is not None]
        raise UserError(
            f"NWM plans on no {name}: there is no prior to draw candidates from.",
            fix=f"There is one for {', '.join(planned)}.",
        )
    return Prior(mean=known.prior_mean, std=known.prior_std)


@dataclass(frozen=True, kw_only=True)
class Iteration:
    """Candidates [N, 3] of one iteration, and their distances to the goal [N, R]."""

    candidates: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Cem:
    """`num_samples` candidates, refitted `opt_steps` times to the `topk` nearest to the goal."""

    num_samples: int
    topk: int
    opt_steps: int
    protocol: Protocol

    def search(
        self,
        prior: Prior,
        distances_of: Callable[[np.ndarray], np.ndarray],
        *,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, list[Iteration]]:
        """The plan [3], and what it was found by.

        `distances_of(candidates [N, 3])` gives [N, R]; a candidate's distance is the
        mean of its rollouts. Spread is the unbiased standard deviation of the elite.

        Under `released` the elite's phi is refitted from the turn of the last step, which is phi·π
        already, and multiplied by π once more when it is used: the plan's turn is π times too
        large, and what follows a second iteration larger still.
        """
        mean, std = np.array(prior.mean), np.array(prior.std)
        done: list[Iteration] = []
        for iteration in range(self.opt_steps):
            candidates = rng.standard_normal((self.num_samples, 3)) * std + mean
            distances = distances_of(candidates)
            done.append(Iteration(candidates=candidates, distances=distances))
            order = np.argsort(distances.mean(axis=1), kind="stable")
            elite = candidates[order[: self.topk]]
            if self.protocol == "released":
                elite = elite * (1.0, 1.0, np.pi)
            mean = elite.mean(axis=0)
            if iteration + 1 < self.opt_steps:
                std = elite.std(axis=0, ddof=1)
        return mean, done
