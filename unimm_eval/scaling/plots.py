"""The figure of a study: a row a law, as in Figures 23 to 26 of the paper.

IsoFLOP curves, the best size and tokens over compute, and the best loss over compute.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.scaling.study import Law, Quantity, Study
from unimm_eval.stats import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
_GRID = 100
_LINE = "#33558b"


def check_format(path: Path) -> None:
    """Raises UserError for a file that no figure can be written to."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(
            f"{path}: a figure is written as {', '.join(FORMATS)}.", fix="Give it such a name."
        )
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a folder.", fix="Make it, or choose another.")


def write_figure(path: Path, study: Study, *, title: str) -> None:
    """Write the figure. Raises UserError when the file cannot be written."""
    from matplotlib.figure import Figure

    rows = len(study.laws)
    figure = Figure(figsize=(15, 3.5 * rows + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, 4, squeeze=False)
    for law, row in zip(study.laws, axes, strict=True):
        for panel in row:
            _few_ticks(panel)
        _curves(row[0], law)
        _power(row[1], law, law.log_size_RB, law.a_R, law.log_size_scale_R, name=("N", "a"))
        _power(row[2], law, law.log_tokens_RB, law.b_R, law.log_tokens_scale_R, name=("D", "b"))
        _frontier(row[3], law)
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error


def _few_ticks(axes: "Axes") -> None:
    """On logarithmic axes, labels at 1 and 3 of each power of ten alone."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(LogFormatterSciNotation())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _curves(axes: "Axes", law: Law) -> None:
    """Runs, the parabola over the valley, and its lowest point, a colour a budget."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 0.9, len(law.curves)))
    for index, (curve, colour) in enumerate(zip(law.curves, colours, strict=True)):
        sizes = [point.size for point in curve.points]
        axes.scatter(sizes, [point.loss for point in curve.points], s=14, color=colour)
        best = law.log_size_RB[0, index]
        x = np.linspace(min(best, curve.log_size_K.min()), max(best, curve.log_size_K.max()), _GRID)
        p = curve.design_3K @ curve.loss_K
        axes.plot(np.exp(x), np.polyval(p, x - curve.centre), color=colour, linewidth=1.2)
        axes.scatter(
            np.exp(best), law.loss_RB[0, index], marker="*", s=90, color=colour,
            edgecolor="black", linewidth=0.5, zorder=3, label=f"{curve.flops:.2g}",
        )  # fmt: skip
    axes.set(xlabel="active parameters N", ylabel="loss")
    axes.set_title(f"{law.modality}, {law.arch}: IsoFLOP curves", fontsize=10)
    axes.legend(title="FLOPs", fontsize=7, title_fontsize=7)


def _power(
    axes: "Axes",
    law: Law,
    log_y_RB: Any,
    exponent_R: Any,
    log_scale_R: Any,
    *,
    name: tuple[str, str],
) -> None:
    """The optimum of each budget with its interval, and the power law through them."""
    flops = _spread(law)
    lines_RG = np.exp(log_scale_R[:, None] + exponent_R[:, None] * np.log(flops))
    _band(axes, flops, lines_RG)
    optima = [Quantity.of(np.exp(log_y_RB[:, index])) for index in range(len(law.curves))]
    _bars(axes, law, optima)
    exponent = Quantity.of(exponent_R)
    letter, power = name
    axes.set(yscale="log", xlabel="compute C (FLOPs)", ylabel=f"{letter}_opt")
    axes.set_title(
        f"{letter}_opt ∝ C^{power}, {power} = {exponent.value:.3f} "
        f"[{exponent.interval[0]:.3f}, {exponent.interval[1]:.3f}]",
        fontsize=10,
    )


def _frontier(axes: "Axes", law: Law) -> None:
    """The least loss of each budget, the law through them, and what no compute removes."""
    flops = _spread(law)
    _band(axes, flops, law.frontier.loss(flops))
    _bars(axes, law, [Quantity.of(law.loss_RB[:, index]) for index in range(len(law.curves))])
    alpha, e = Quantity.of(law.frontier.alpha_R), Quantity.of(law.frontier.e_R)
    axes.axhline(e.value, color="gray", linestyle="--", linewidth=1, label=f"E = {e.value:.4g}")
    axes.set(xlabel="compute C (FLOPs)", ylabel="least loss")
    axes.set_title(
        f"A·C^−α + E, α = {alpha.value:.3f} [{alpha.interval[0]:.3f}, {alpha.interval[1]:.3f}]",
        fontsize=10,
    )
    axes.legend(fontsize=8)


def _spread(law: Law) -> Any:
    """Compute from somewhat below the least to somewhat above the greatest budget."""
    return np.geomspace(law.flops_B.min() / 1.5, law.flops_B.max() * 1.5, _GRID)


def _band(axes: "Axes", flops: Any, lines_RG: Any) -> None:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(lines_RG[1:], (tail, 100 - tail), axis=0)
    axes.fill_between(flops, low, high, color=_LINE, alpha=0.18, linewidth=0)
    axes.plot(flops, lines_RG[0], color=_LINE, linewidth=1.3)


def _bars(axes: "Axes", law: Law, optima: list[Quantity]) -> None:
    values = np.array([optimum.value for optimum in optima])
    ends = np.array([optimum.interval for optimum in optima]).T
    errors = np.maximum([values - ends[0], ends[1] - values], 0)
    axes.errorbar(
        law.flops_B,
        values,
        yerr=errors,
        fmt="o",
        markersize=4,
        color="black",
        linewidth=1,
        capsize=2,
    )
