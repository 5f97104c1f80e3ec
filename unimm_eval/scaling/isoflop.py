"""IsoFLOP curves: the best size and number of tokens at each budget of compute (paper §7).

Per budget C a parabola L = p₂·x² + p₁·x + p₀ in x = log N through the runs of the valley; its
vertex is log N_opt, and log D_opt what the runs' tokens are there. Over the budgets
N_opt ∝ C^a and D_opt ∝ C^b by least squares in logarithms (Hoffmann et al. 2022, approach 2).

The curve of an additive law is no parabola: away from its lowest point it is steeper on one side.
So runs count the less the farther they are from the vertex (tricube weights, as in local
regression; Cleveland 1979), found again until the vertex stays. Then the same part of the curve is
fitted at each budget wherever the sizes that were tried stand, and what is left of the error moves
all vertices alike, which no exponent sees.

Shapes: B budgets, K runs of one, R resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unimm_eval.api import UserError
from unimm_eval.scaling.points import Point

FloatArray = npt.NDArray[np.float64]

REACH = 12.0
"""Runs count that are less than so many times as large as the best size, or as small."""
FEWEST = 4
"""Sizes of a budget: a parabola has three numbers, and the fourth tells how well it fits."""
FEWEST_BUDGETS = 3
SAME_BUDGET = 1.1
"""Runs are of one budget when their compute, sorted, grows by no more than this factor."""
_ROUNDS = 200
_STILL = 1e-9  # of log N


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The runs of one budget and the parabola through the valley among them.

    `flops` is their geometric mean. `loss_K` and `weight_K` are of the runs that count,
    `fitted_K` is what the parabola has there and `design_3K` makes coefficients of losses, the
    highest power first, in x = log N − `centre`. `log_tokens` is (slope, intercept) of log D
    against log N.
    """

    flops: float
    points: tuple[Point, ...]
    log_size_K: FloatArray
    loss_K: FloatArray
    weight_K: FloatArray
    fitted_K: FloatArray
    design_3K: FloatArray
    centre: float
    log_tokens: tuple[float, float]

    @property
    def residual(self) -> tuple[float, float, float]:
        """What the errors of the losses are estimated from: a weighted sum of squared residuals,
        how many times their variance it is expected to be, and the trace that tells how sure it is.

        Residuals are those of a curve that may bend more than the parabola (up to the fourth power
        where there are runs enough), so that the shape of a law is not taken for noise. With them
        as (I − H)·L and M = (I − H)ᵀ·W·(I − H): LᵀML, tr M and tr M².
        """
        x_K = self.log_size_K - self.centre
        powers = min(5, max(3, len(np.unique(x_K)) - 1))
        hat_KK = np.vander(x_K, powers) @ _design(x_K, self.weight_K, powers=powers)
        rest_KK = np.eye(len(x_K)) - hat_KK
        m_KK = rest_KK.T @ (self.weight_K[:, None] * rest_KK)
        return (
            float(self.loss_K @ m_KK @ self.loss_K),
            float(np.trace(m_KK)),
            float(np.square(m_KK).sum()),
        )

    @property
    def range(self) -> tuple[float, float]:
        """Least and greatest log N of all runs."""
        sizes = [math.log(point.size) for point in self.points]
        return min(sizes), max(sizes)

    def optimum(self, loss_RK: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(log N_opt, log D_opt, least loss), each [R], of other losses at the valley's runs.

        Within the sampled range: a parabola that opens downwards is lowest at an end of it.
        """
        p2, p1, p0 = self.design_3K @ loss_RK.T
        low, high = (end - self.centre for end in self.range)
        with np.errstate(divide="ignore", invalid="ignore"):
            x_R = np.where(p2 > 0, -p1 / (2 * p2), np.where(p1 > 0, low, high))
        x_R = np.clip(x_R, low, high)
        log_size_R = x_R + self.centre
        slope, intercept = self.log_tokens
        return log_size_R, slope * log_size_R + intercept, p2 * x_R**2 + p1 * x_R + p0


def curves(points: Sequence[Point]) -> list[Curve]:
    """A curve a budget, the smallest budget first. Raises UserError naming the budget and its rows
    when one has too few runs, no lowest point or one outside the sizes that were tried, or when
    there are too few budgets."""
    ordered = sorted(points, key=lambda point: point.flops)
    groups: list[list[Point]] = []
    for point in ordered:
        if groups and point.flops <= SAME_BUDGET * groups[-1][-1].flops:
            groups[-1].append(point)
        else:
            groups.append([point])
    found = [_curve(group) for group in groups]
    if len(found) < FEWEST_BUDGETS:
        where = f"{points[0].modality}, {points[0].arch}"
        raise UserError(
            f"{where}: {len(found)} budgets of compute, but a power law needs {FEWEST_BUDGETS}.",
            fix="Add runs at other budgets.",
        )
    return found


def power_law(flops_B: FloatArray, log_y_RB: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(exponent, log of the coefficient), each [R], of y = k·C^exponent by least squares in
    logarithms."""
    x_B = np.log(flops_B)
    centred_B = x_B - x_B.mean()
    exponent_R = log_y_RB @ centred_B / (centred_B @ centred_B)
    return exponent_R, log_y_RB.mean(axis=1) - exponent_R * x_B.mean()


def _curve(points: Sequence[Point]) -> Curve:
    sizes = {point.size for point in points}
    if len(sizes) < FEWEST:
        raise _refused(
            points,
            f"{len(sizes)} sizes of model, but a parabola needs {FEWEST}",
            fix="Add runs of other sizes, or leave this budget out.",
        )
    x_P = np.log([point.size for point in points])
    loss_P = np.array([point.loss for point in points])
    centre = float(x_P[loss_P.argmin()])
    for _ in range(_ROUNDS):
        weight_P = _weights(x_P, centre)
        design_3P = _design(x_P - centre, weight_P)
        p2, p1, _ = design_3P @ loss_P
        if p2 <= 0:
            raise _refused(
                points,
                "the losses have no lowest point",
                fix="Add runs of smaller and larger models, or of another seed.",
            )
        step = float(-p1 / (2 * p2))
        if not x_P.min() <= centre + step <= x_P.max():
            side = "smallest" if step < 0 else "largest"
            raise _refused(
                points,
                f"the lowest point, at {math.exp(centre + step):.3g} parameters, is beyond the "
                f"{side} model that was tried",
                fix=f"Add runs of {'smaller' if step < 0 else 'larger'} models, or leave this "
                "budget out.",
            )
        if abs(step) < _STILL:
            break
        centre += step
    kept_P = weight_P > 0
    slope, intercept = np.polyfit(x_P, np.log([point.tokens for point in points]), 1)
    return Curve(
        flops=math.exp(float(np.mean(np.log([point.flops for point in points])))),
        points=tuple(points),
        log_size_K=x_P[kept_P],
        loss_K=loss_P[kept_P],
        weight_K=weight_P[kept_P],
        fitted_K=(np.vander(x_P - centre, 3) @ (design_3P @ loss_P))[kept_P],
        design_3K=design_3P[:, kept_P],
        centre=centre,
        log_tokens=(float(slope), float(intercept)),
    )


def _weights(x_P: FloatArray, centre: float) -> FloatArray:
    """Tricube weights of runs around the centre, wide enough for the FEWEST sizes nearest to it."""
    distance_P = np.abs(x_P - centre)
    nearest = [float(np.abs(size - centre)) for size in np.unique(x_P)]
    reach = max(math.log(REACH), 1.2 * sorted(nearest)[FEWEST - 1])
    return np.asarray((1 - np.minimum(distance_P / reach, 1) ** 3) ** 3)


def _design(x_P: FloatArray, weight_P: FloatArray, *, powers: int = 3) -> FloatArray:
    """What makes coefficients of the weighted polynomial of losses, [powers, P]."""
    root_P1 = np.sqrt(weight_P)[:, None]
    return np.asarray(np.linalg.pinv(np.vander(x_P, powers) * root_P1) * root_P1.T, np.float64)


def _refused(points: Sequence[Point], what: str, *, fix: str) -> UserError:
    """`what` is wrong with a budget, named by its compute and its rows."""
    first = points[0]
    where = "; ".join(sorted({point.place for point in points}, key=_by_line))
    return UserError(
        f"{first.modality}, {first.arch}, {first.flops:.3g} FLOPs: {what} ({where}).", fix=fix
    )


def _by_line(place: str) -> tuple[str, int]:
    name, _, line = place.rpartition(" ")
    return (name, int(line)) if line.isdigit() else (place, 0)
