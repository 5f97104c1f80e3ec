"""Losses as they could have come out: a parametric bootstrap.

The residuals of all parabolas of a group, few a budget, together give one standard deviation. Each
resample draws its own deviation from what such an estimate leaves open (χ², with Satterthwaite's
degrees of freedom) and then normal errors around the parabolas: with few runs intervals widen as
those of Student's t do. Resampling the runs themselves would leave budgets without a parabola.

Shapes: K runs of a budget's valley, R resamples.
"""

from collections.abc import Sequence

import numpy as np

from unimm_eval.scaling.isoflop import Curve, FloatArray


def resampled(curves: Sequence[Curve], *, resamples: int, seed: int) -> list[FloatArray]:
    """Losses [1 + R, K] of each curve's valley; the first row are the losses there were."""
    rng = np.random.default_rng(seed)
    squares, trace, trace_squared = map(sum, zip(*(one.residual for one in curves), strict=True))
    degrees = trace**2 / trace_squared
    sigma_R1 = np.sqrt(squares / trace * degrees / rng.chisquare(degrees, size=(resamples, 1)))
    return [
        np.concatenate(
            (
                curve.loss_K[None],
                curve.fitted_K + sigma_R1 * rng.standard_normal((resamples, len(curve.loss_K))),
            )
        )
        for curve in curves
    ]
