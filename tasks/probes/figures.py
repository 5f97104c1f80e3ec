"""The curves over layers, as paper figure 28 has them, as PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

PSNR = "psnr"
_COLORS = ("#3b6fb6", "#7a9e4b", "#8a5fa8", "#b35c44")  # one a target
_PSNR_COLOR = "#d9822b"
_DPI = 120

Rows = Sequence[Mapping[str, Any]]


def curves(rows: Rows) -> bytes:
    """A panel for the encoder, where it has several layers, and one for the backbone: accuracy of
    each layer with its interval, PSNR on an axis of its own. In the backbone's panel the encoder's
    last layer is a dotted line, and the untrained twin is dashed."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    deep = any(row["stack"] == "encoder" and row["layer"] for row in rows)
    panels = ("encoder", "backbone") if deep else ("backbone",)
    figure = Figure(figsize=(5.0 * len(panels), 3.6), layout="constrained")
    measures = list(dict.fromkeys(row["measure"] for row in rows if row["measure"] != PSNR))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, stack in zip(grid, panels, strict=True):
        for measure, color in zip(measures, _COLORS * len(measures), strict=False):
            _curve(axes, _of(rows, stack, measure), color=color, label=measure)
            if stack == "backbone":
                _curve(axes, _of(rows, "twin", measure), color=color, line="--")
                if reference := _of(rows, "encoder", measure):
                    axes.axhline(reference[-1]["value"], color=color, linestyle=":", linewidth=1)
        axes.set(xlabel="layer", ylabel="accuracy", title=stack)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if decoded := _of(rows, stack, PSNR):
            other = axes.twinx()
            _curve(other, decoded, color=_PSNR_COLOR, label="PSNR")
            other.set_ylabel("PSNR, dB", color=_PSNR_COLOR)
        if measures:
            axes.legend(fontsize=7, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _of(rows: Rows, stack: str, measure: str) -> Rows:
    return [row for row in rows if row["stack"] == stack and row["measure"] == measure]


def _curve(axes: Any, rows: Rows, *, color: str, label: str | None = None, line: str = "-") -> None:
    if not rows:
        return
    layers = [row["layer"] for row in rows]
    values = [row["value"] for row in rows]
    axes.plot(layers, values, line, color=color, label=label, marker="o", markersize=3, linewidth=1)
    if all(row["low"] is not None for row in rows):
        low, high = ([row[end] for row in rows] for end in ("low", "high"))
        axes.fill_between(layers, low, high, color=color, alpha=0.2 if label else 0.08, linewidth=0)
