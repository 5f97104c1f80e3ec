"""Scaling laws of every modality and architecture, and vision beside language (paper §7).

Shapes: R resamples, of which the first is what was measured; B budgets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimm_eval.scaling.frontier import Frontier, fit_frontier
from unimm_eval.scaling.isoflop import Curve, FloatArray, curves, power_law
from unimm_eval.scaling.noise import resampled
from unimm_eval.scaling.points import LANGUAGE, VISION, Point, Points
from unimm_eval.stats import BOOTSTRAP_RESAMPLES, BOOTSTRAP_SEED, CONFIDENCE

BASE_SIZE = 1e9
LARGER_SIZES = (1e11, 1e12)
"""Active parameters at which the demand for vision data is told, as a multiple of that at
BASE_SIZE (paper §7)."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A fitted number with its 95% bootstrap interval."""

    value: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, values_R: FloatArray) -> "Quantity":
        tail = 50 * (1 - CONFIDENCE)
        low, high = np.percentile(values_R[1:], (tail, 100 - tail))
        return cls(value=float(values_R[0]), interval=(float(low), float(high)))

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "interval": list(self.interval)}


@dataclass(frozen=True, kw_only=True)
class Law:
    """The laws of one modality and architecture: N_opt = k·C^a, D_opt = k'·C^b, the frontier."""

    modality: str
    arch: str
    curves: tuple[Curve, ...]
    flops_B: FloatArray
    log_size_RB: FloatArray
    log_tokens_RB: FloatArray
    loss_RB: FloatArray
    a_R: FloatArray
    log_size_scale_R: FloatArray
    b_R: FloatArray
    log_tokens_scale_R: FloatArray
    frontier: Frontier

    def to_json(self) -> dict[str, Any]:
        budgets = [
            {
                "flops": curve.flops,
                "runs": len(curve.points),
                "runs_in_valley": len(curve.loss_K),
                "n_opt": Quantity.of(np.exp(self.log_size_RB[:, index])).to_json(),
                "d_opt": Quantity.of(np.exp(self.log_tokens_RB[:, index])).to_json(),
                "loss": Quantity.of(self.loss_RB[:, index]).to_json(),
            }
            for index, curve in enumerate(self.curves)
        ]
        return {
            "modality": self.modality,
            "arch": self.arch,
            "a": Quantity.of(self.a_R).to_json(),
            "b": Quantity.of(self.b_R).to_json(),
            "n_opt_coefficient": Quantity.of(np.exp(self.log_size_scale_R)).to_json(),
            "d_opt_coefficient": Quantity.of(np.exp(self.log_tokens_scale_R)).to_json(),
            "alpha": Quantity.of(self.frontier.alpha_R).to_json(),
            "A": Quantity.of(np.exp(self.frontier.log_a_R)).to_json(),
            "E": Quantity.of(self.frontier.e_R).to_json(),
            "budgets": budgets,
        }


@dataclass(frozen=True, kw_only=True)
class Asymmetry:
    """How much hungrier for data vision is than language, in one architecture.

    `gap` = a of language − a of vision. At size N each wants D ∝ N^(b/a) tokens, so the ratio of
    vision to language data grows as N to the `ratio_exponent`, b_V/a_V − b_L/a_L; `growth` is by
    how much it is larger at a size than at BASE_SIZE. Errors of the two are taken as independent.
    """

    arch: str
    gap: Quantity
    ratio_exponent: Quantity
    growth: Mapping[float, Quantity]

    def to_json(self) -> dict[str, Any]:
        return {
            "arch": self.arch,
            "exponent_gap": self.gap.to_json(),
            "ratio_exponent": self.ratio_exponent.to_json(),
            "ratio_growth": [
                {"from": BASE_SIZE, "to": size, **growth.to_json()}
                for size, growth in self.growth.items()
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that a file of runs says; `unused` are its columns that were not looked at."""

    laws: tuple[Law, ...]
    asymmetries: tuple[Asymmetry, ...]
    unused: tuple[str, ...]
    resamples: int

    def to_json(self) -> dict[str, Any]:
        return {
            "confidence": CONFIDENCE,
            "resamples": self.resamples,
            "unused_columns": list(self.unused),
            "laws": [law.to_json() for law in self.laws],
            "vision_beside_language": [entry.to_json() for entry in self.asymmetries],
        }


def study(
    points: Points, *, resamples: int = BOOTSTRAP_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> Study:
    """Fit each modality and architecture. Raises UserError naming the budget and rows at fault."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points.points:
        groups.setdefault((point.arch, point.modality), []).append(point)
    laws = {
        key: fit_law(groups[key], resamples=resamples, seed=seed + number)
        for number, key in enumerate(sorted(groups))
    }
    both = [arch for arch, modality in laws if modality == LANGUAGE and (arch, VISION) in laws]
    return Study(
        laws=tuple(laws.values()),
        asymmetries=tuple(
            asymmetry(arch, laws[arch, LANGUAGE], laws[arch, VISION]) for arch in both
        ),
        unused=points.unused,
        resamples=resamples,
    )


def fit_law(points: Sequence[Point], *, resamples: int, seed: int) -> Law:
    """The laws of points of one modality and architecture. Raises UserError."""
    found = curves(points)
    losses = resampled(found, resamples=resamples, seed=seed)
    optima = [curve.optimum(loss_RK) for curve, loss_RK in zip(found, losses, strict=True)]
    log_size_RB, log_tokens_RB, loss_RB = (
        np.stack(part, axis=1) for part in zip(*optima, strict=True)
    )
    flops_B = np.array([curve.flops for curve in found])
    a_R, log_size_scale_R = power_law(flops_B, log_size_RB)
    b_R, log_tokens_scale_R = power_law(flops_B, log_tokens_RB)
    return Law(
        modality=points[0].modality,
        arch=points[0].arch,
        curves=tuple(found),
        flops_B=flops_B,
        log_size_RB=log_size_RB,
        log_tokens_RB=log_tokens_RB,
        loss_RB=loss_RB,
        a_R=a_R,
        log_size_scale_R=log_size_scale_R,
        b_R=b_R,
        log_tokens_scale_R=log_tokens_scale_R,
        frontier=fit_frontier(flops_B, loss_RB),
    )


def asymmetry(arch: str, language: Law, vision: Law) -> Asymmetry:
    """Vision beside language."""
    ratio_R = vision.b_R / vision.a_R - language.b_R / language.a_R
    return Asymmetry(
        arch=arch,
        gap=Quantity.of(language.a_R - vision.a_R),
        ratio_exponent=Quantity.of(ratio_R),
        growth={
            size: Quantity.of(np.exp(np.clip(ratio_R * np.log(size / BASE_SIZE), -700, 700)))
            for size in LARGER_SIZES  # clipped: an `a` near 0 leaves no end to the ratio
        },
    )
