"""Figures like those of paper §6.2, as PNG."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm_eval.tasks.experts.statistics import CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = ("#3b6fb6", "#d9822b", "#7a9e4b", "#b9b9b9")  # one a class
_PANELS = 6
_DPI = 120


def composition(kind_LE: np.ndarray) -> bytes:
    """Figure 18: how many experts of each class every layer has."""
    figure, axes = _figure(6.4, 3.6)
    layers = np.arange(len(kind_LE))
    below = np.zeros(len(kind_LE))
    for index, (name, color) in enumerate(zip(CLASSES, _COLORS, strict=True)):
        count = (kind_LE == index).sum(axis=1)
        if count.any():
            axes.bar(layers, count, bottom=below, color=color, label=name, width=0.85)
        below = below + count
    axes.set_xticks(layers)
    axes.set(xlabel="layer", ylabel="routed experts", title="Composition by depth")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _png(figure)


def timesteps(cv: np.ndarray) -> bytes:
    """Figure 19: how much the rates of vision experts vary over ten parts of the schedule."""
    figure, axes = _figure(4.8, 3.2)
    axes.hist(cv, bins=24, range=(0.0, max(1.0, float(cv.max(initial=0.0)))), color=_COLORS[1])
    if len(cv):
        axes.axvline(float(cv.mean()), color="black", linewidth=1, linestyle="--")
    axes.set(
        xlabel="coefficient of variation over timesteps",
        ylabel="vision experts",
        title="Timesteps" if len(cv) else "Timesteps: there are no vision experts",
    )
    return _png(figure)


def generation_understanding(
    generation_LE: np.ndarray, understanding_LE: np.ndarray, r_L: np.ndarray
) -> bytes:
    """Figure 20: rates of the experts of layers at even depths, made against understood."""
    from matplotlib.figure import Figure

    layers = len(generation_LE)
    shown = np.unique(np.linspace(0, layers - 1, min(layers, _PANELS)).round().astype(int))
    figure = Figure(figsize=(2.3 * len(shown), 2.8), layout="constrained")
    for axes, layer in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        x, y = generation_LE[layer], understanding_LE[layer]
        end = 1.08 * max(x.max(), y.max())
        axes.plot([0, end], [0, end], color="#b9b9b9", linewidth=1)
        axes.scatter(x, y, s=14, color=_COLORS[0], alpha=0.8)
        axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
        axes.set_title(f"layer {layer}, r = {r_L[layer]:.2f}", fontsize=9)
        axes.set_xlabel("rate, generation", fontsize=8)
        axes.tick_params(labelsize=7)
        if layer == shown[0]:
            axes.set_ylabel("rate, understanding", fontsize=8)
    return _png(figure)


def _figure(width: float, height: float) -> "tuple[Figure, Any]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
