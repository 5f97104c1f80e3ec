"""The best loss at each budget as L(C) = A·C^−α + E (paper §7).

E, the loss that no compute removes, is searched on a grid from 0 to the least loss; for each E the
rest is a straight line of log(L − E) over log C, and the E is taken whose law has the least mean
squared error of log L. (That of log(L − E) would favour other E: it counts most where L is near E.)

For an additive law L = E + A'/N^α' + B'/D^β' with C ∝ N·D the frontier is exactly of this form:
α = α'·β' / (α' + β'), and E is the same.

Shapes: B budgets, R resamples, G values of E.
"""

from dataclasses import dataclass

import numpy as np

from unimm_eval.scaling.isoflop import FloatArray

_GRID = 60
_LEAST = 1e-3  # of the least loss that was measured
_ROUNDS = 6  # each closer around the best by a factor of about _GRID / 2


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """`log_a_R` is log A: A·C^−α spans many powers of ten."""

    log_a_R: FloatArray
    alpha_R: FloatArray
    e_R: FloatArray

    def loss(self, flops: FloatArray) -> FloatArray:
        """[R, …] at each compute."""
        shape = (-1, *[1] * np.ndim(flops))
        log_c = np.log(flops)
        power = np.exp(self.log_a_R.reshape(shape) - self.alpha_R.reshape(shape) * log_c)
        return np.asarray(power + self.e_R.reshape(shape))


def fit_frontier(flops_B: FloatArray, loss_RB: FloatArray) -> Frontier:
    """The law of each row of losses. Noise can take a resample below 0, where no loss is and no
    logarithm: it stays just above."""
    loss_RB = np.maximum(loss_RB, _LEAST * loss_RB[0].min())
    least_R1 = loss_RB.min(axis=1)[:, None]
    low_R1, high_R1 = np.zeros_like(least_R1), least_R1
    grid_G = np.linspace(0, 1, _GRID, endpoint=False)
    rows = np.arange(len(loss_RB))
    for _ in range(_ROUNDS):
        e_RG = low_R1 + (high_R1 - low_R1) * grid_G
        log_a_RG, alpha_RG, error_RG = _lines(flops_B, loss_RB, e_RG)
        best_R = error_RG.argmin(axis=1)
        step_R1 = (high_R1 - low_R1) / _GRID
        low_R1 = np.maximum(e_RG[rows, best_R][:, None] - step_R1, 0)
        high_R1 = np.minimum(e_RG[rows, best_R][:, None] + step_R1, least_R1)
    return Frontier(
        log_a_R=log_a_RG[rows, best_R], alpha_R=alpha_RG[rows, best_R], e_R=e_RG[rows, best_R]
    )


def _lines(
    flops_B: FloatArray, loss_RB: FloatArray, e_RG: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(log A, α, mean squared error of log L) of each E, each [R, G]."""
    x_B = np.log(flops_B)
    centred_B = x_B - x_B.mean()
    log_rest_RGB = np.log(loss_RB[:, None] - e_RG[..., None])
    slope_RG = log_rest_RGB @ centred_B / (centred_B @ centred_B)
    log_a_RG = log_rest_RGB.mean(axis=2) - slope_RG * x_B.mean()
    made_RGB = np.exp(log_a_RG[..., None] + slope_RG[..., None] * x_B) + e_RG[..., None]
    error_RG = np.square(np.log(made_RGB) - np.log(loss_RB[:, None])).mean(axis=2)
    return log_a_RG, -slope_RG, error_RG
