"""The plots: quality against cost with its Pareto front, and against training compute with a power
law."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from markupsafe import Markup

from unimm_eval.leaderboard.board import Column, Row, fixed
from unimm_eval.leaderboard.catalogue import Catalogue
from unimm_eval.leaderboard.drawing import (
    Plot,
    Scale,
    circle,
    line,
    link,
    path,
    picture,
    place_labels,
    scale,
    text,
    upright,
)
from unimm_eval.leaderboard.entries import compact
from unimm_eval.leaderboard.radar import radar_plot

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 16, 50
LABEL_LIMIT, AXIS_LIMIT = 26, 36
MANY = 40
"""Where more models are in a plot, only those of the front are named."""
RADAR_ROWS = 5
TEASERS = 2
FEW = 100
"""Models up to which the first page has plots."""
COMPUTE = (
    "Training FLOPs are those that the checkpoint states, else 6 · active parameters · tokens."
)

Cost = Literal["active", "flops"]
COSTS: dict[Cost, str] = {
    "active": "active parameters",
    "flops": "training FLOPs",
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model in a plot; `y` as shown in the column, `low` and `high` its interval."""

    row: Row
    x: float
    y: float
    low: float
    high: float


def plot_parts(catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """The sections of the page of plots; reported numbers are not plotted."""
    for board in catalogue.boards:
        if board.kind == "reported":
            continue
        best = board.rows[:RADAR_ROWS]
        columns, rows = board.headlines, board.rows
        radar = radar_plot(board, best, title="What the first models are good at")
        sections: tuple[tuple[str, str, list[Plot | None], list[str]], ...] = (
            (
                "Strengths",
                f"Win rates of the first {len(best)} models.",
                [radar],
                [row.name for row in best],
            ),
            (
                "Quality against size",
                "The line joins the models that nothing of the same size or smaller beats.",
                [pareto_plot(column, rows, "active") for column in columns],
                [],
            ),
            (
                "Quality against training compute",
                COMPUTE,
                [pareto_plot(column, rows, "flops") for column in columns],
                [],
            ),
            (
                "Scaling",
                f"{COMPUTE} The line is a power law of least squares.",
                [scaling_plot(column, rows) for column in columns],
                [],
            ),
        )
        for title, words, plots, legend in sections:
            if drawn := [plot for plot in plots if plot]:
                yield {
                    "title": title,
                    "kind": board.kind,
                    "words": words,
                    "legend": legend,
                    "plots": drawn,
                }


def first_plots(catalogue: Catalogue) -> list[Plot]:
    """A few for the first page, of different areas; none where it would grow too large."""
    board = next((board for board in catalogue.boards if board.kind != "reported"), None)
    if board is None or len(board.rows) > FEW:
        return []
    found: dict[str, Plot] = {}
    for column in board.headlines:
        plot = pareto_plot(column, board.rows, "active")
        if plot is not None:
            found.setdefault(column.area, plot)
    return list(found.values())[-TEASERS:]


def model_href(row_id: str) -> str:
    return f"models/{row_id}.html"


def pareto_plot(column: Column, rows: Sequence[Row], cost: Cost) -> Plot | None:
    """Quality against cost. None where fewer than two models tell their cost."""
    points = _points(column, rows, cost)
    if len(points) < 2:
        return None
    front = pareto_front(points, higher_is_better=column.name.direction == "higher")
    names = [point.row.name for point in front]
    x, y, parts = _axes(
        points, COSTS[cost], _y_title(column), logarithmic_y=_log_scaled(column, points)
    )
    places = [(x.place(point.x), y.place(point.y)) for point in front]
    corners = [places[0]]
    for here, there in pairwise(places):
        corners += [(there[0], here[1]), there]
    parts.append(path("front", corners))
    parts += _dots(points, x, y, strong={point.row.id for point in front})
    return Plot(
        title=f"{column.name.task} {column.name.metric} against {COSTS[cost]}",
        words="On the front, from cheap to dear: " + ", ".join(names) + ".",
        svg=picture("plot", WIDTH, HEIGHT, _label(column, COSTS[cost]), parts, linked=True),
        head=("model", COSTS[cost], _y_title(column), "on the front"),
        table=tuple(
            (
                point.row.name,
                compact(point.x),
                fixed(point.y, column.decimals),
                "yes" if point in front else "",
            )
            for point in points
        ),
    )


def scaling_plot(column: Column, rows: Sequence[Row]) -> Plot | None:
    """Quality against training compute, both logarithmic where values allow it, with the power law
    of least squares where three different amounts of compute were spent."""
    points = _points(column, rows, "flops")
    if len(points) < 2:
        return None
    logarithmic = all(point.y > 0 and point.low > 0 for point in points)
    x, y, parts = _axes(points, COSTS["flops"], _y_title(column), logarithmic_y=logarithmic)
    words = "Too few amounts of compute for a law."
    if logarithmic and len({point.x for point in points}) >= 3:
        exponent, offset = np.polyfit(
            np.log([point.x for point in points]), np.log([point.y for point in points]), 1
        )
        ends = [min(point.x for point in points), max(point.x for point in points)]
        heights = [math.exp(offset) * end**exponent for end in ends]
        low, high = y.marks[0], y.marks[-1]
        if all(low <= height <= high for height in heights):
            drawn = [(x.place(a), y.place(b)) for a, b in zip(ends, heights, strict=True)]
            parts.append(path("front", drawn))
        words = f"Least squares in logarithms: {column.name.metric} ∝ FLOPs^{exponent:.3f}."
    parts += _dots(points, x, y, strong=set())
    return Plot(
        title=f"{column.name.task} {column.name.metric} by training compute",
        words=words,
        svg=picture("plot", WIDTH, HEIGHT, _label(column, COSTS["flops"]), parts, linked=True),
        head=("model", COSTS["flops"], _y_title(column)),
        table=tuple(
            (point.row.name, compact(point.x), fixed(point.y, column.decimals)) for point in points
        ),
    )


def pareto_front(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """Models that no other one beats at the same cost or less, from cheap to dear."""
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -sign * point.y, point.row.id)):
        if not front or sign * point.y > sign * front[-1].y:
            front.append(point)
    return front


def _points(column: Column, rows: Sequence[Row], cost: Cost) -> list[Point]:
    found = []
    for row in rows:
        cell = column.cells.get(row.id)
        size = row.active if cost == "active" else row.flops
        if cell is not None and size is not None:
            low, high = cell.number.interval or (cell.number.value, cell.number.value)
            bounds = sorted((column.scale * low, column.scale * high))
            found.append(
                Point(
                    row=row,
                    x=size,
                    y=cell.shown,
                    low=min(cell.shown, bounds[0]),
                    high=max(cell.shown, bounds[1]),
                )
            )
    return found


def _axes(
    points: Sequence[Point], x_title: str, y_title: str, *, logarithmic_y: bool
) -> tuple[Scale, Scale, list[Markup]]:
    x = scale([point.x for point in points], LEFT, WIDTH - RIGHT, logarithmic=True)
    heights = [bound for point in points for bound in (point.low, point.high)]
    y = scale(heights, HEIGHT - BOTTOM, TOP, logarithmic=logarithmic_y)
    parts = []
    for mark in y.marks:
        parts.append(line("grid", LEFT, y.place(mark), WIDTH - RIGHT, y.place(mark)))
        parts.append(text("tick", LEFT - 8, y.place(mark) + 4, _tick(mark), anchor="end"))
    parts += [text("tick", x.place(mark), HEIGHT - BOTTOM + 18, compact(mark)) for mark in x.marks]
    parts.append(text("label", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title))
    parts.append(upright("label", 14, (TOP + HEIGHT - BOTTOM) / 2, y_title))
    return x, y, parts


def _dots(points: Sequence[Point], x: Scale, y: Scale, *, strong: set[str]) -> list[Markup]:
    parts = []
    for point in points:
        across = x.place(point.x)
        if point.high > point.low:
            parts.append(line("interval", across, y.place(point.low), across, y.place(point.high)))
    for point in points:
        kind = "dot strong" if point.row.id in strong else "dot"
        title = f"{point.row.name}: {point.y:g} at {compact(point.x)}"
        drawn = circle(kind, x.place(point.x), y.place(point.y), 5, title)
        parts.append(link(model_href(point.row.id), drawn, name=title))
    named = [point for point in points if point.row.id in strong or len(points) <= MANY]
    named.sort(key=lambda point: point.row.id not in strong)
    labels = place_labels(
        [(x.place(p.x), y.place(p.y), _short(p.row.name)) for p in named],
        [
            (x.place(p.x) - 5, y.place(p.high) - 4, x.place(p.x) + 5, y.place(p.low) + 4)
            for p in points
        ],
        (LEFT, 0, WIDTH - 2, HEIGHT - BOTTOM),
    )
    for point, label in zip(named, labels, strict=True):
        if label is not None:
            across, down, anchor = label
            parts.append(text("name", across, down, _short(point.row.name), anchor=anchor))
    return parts


def _log_scaled(column: Column, points: Sequence[Point]) -> bool:
    """Shares never are; what has no upper end is where values are far apart."""
    return (
        column.name.range[1] is None
        and all(point.low > 0 for point in points)
        and (max(point.high for point in points) > 30 * min(point.low for point in points))
    )


def _y_title(column: Column) -> str:
    unit = "%" if column.name.percent else column.name.unit
    arrow = "↑" if column.name.direction == "higher" else "↓"
    words = f"{_short(column.name.metric)} {arrow}"
    return f"{words} ({unit})" if unit and len(words) + len(unit) <= AXIS_LIMIT else words


def _label(column: Column, cost: str) -> str:
    return f"{column.name.task} {column.name.metric} against {cost}"


def _tick(value: float) -> str:
    return f"{value:g}"


def _short(name: str) -> str:
    return name if len(name) <= LABEL_LIMIT else f"{name[: LABEL_LIMIT - 1]}…"
