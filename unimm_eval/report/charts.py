"""Small charts as inline SVG: an interval on its scale, and a curve.

Only numbers and escaped text enter the markup; colours come from the page's style sheet by class,
so that charts follow light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from unimm_eval.api import Result
from unimm_eval.report.numbers import plain_number

WIDTH, HEIGHT = 480, 270
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 48
LOG_RATIO = 30
"""A curve whose largest value is so many times its smallest is drawn on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a curve; `low` and `high` are its band, where it has one."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


def interval_chart(row: Result, *, width: int = 160, height: int = 22) -> Markup:
    """The value as a dot, its interval as a bar and chance as a tick, on the metric's range.
    Empty where the range has no end."""
    low, high = row.range
    if low is None or high is None or not high > low:
        return Markup("")
    pad = 6

    def x(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(pad + share * (width - 2 * pad), 2)

    middle = height / 2
    parts = [_line("axis", x(low), middle, x(high), middle)]
    if row.chance is not None:
        parts.append(_line("chance", x(row.chance), 3, x(row.chance), height - 3))
    if row.interval is not None:
        parts.append(_line("interval", x(row.interval[0]), middle, x(row.interval[1]), middle))
    parts.append(_circle("value", x(row.value), middle, 4.5))
    return Markup(
        '<svg class="interval-chart" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
        'aria-hidden="true">{2}</svg>'
    ).format(width, height, Markup("").join(parts))


def change_chart(
    value: float,
    interval: tuple[float, float] | None,
    *,
    reach: float,
    width: int = 160,
    height: int = 22,
) -> Markup:
    """A difference as a dot and its interval as a bar, about the line of no difference, on a scale
    from −`reach` to `reach`. Empty without a scale."""
    if not reach > 0:
        return Markup("")
    pad, middle = 6, height / 2

    def x(number: float) -> float:
        share = (min(max(number, -reach), reach) / reach + 1) / 2
        return round(pad + share * (width - 2 * pad), 2)

    parts = [
        _line("axis", pad, middle, width - pad, middle),
        _line("zero", x(0.0), 2, x(0.0), height - 2),
    ]
    if interval is not None:
        parts.append(_line("interval", x(interval[0]), middle, x(interval[1]), middle))
    parts.append(_circle("value", x(value), middle, 4.5))
    return Markup(
        '<svg class="change-chart" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
        'aria-hidden="true">{2}</svg>'
    ).format(width, height, Markup("").join(parts))


def curve_chart(curve: Curve) -> Markup:
    """A line chart with a light grid and a band around lines that have one."""
    x_ticks = ticks(*_extent([series.x for series in curve.series]))
    y_low, y_high = _extent(
        [values for series in curve.series for values in (series.y, series.low, series.high)]
    )
    logarithmic = y_low > 0 and y_high > LOG_RATIO * y_low
    y_ticks = log_ticks(y_low, y_high) if logarithmic else ticks(min(0.0, y_low), y_high)
    x_place = _scale(x_ticks, LEFT, WIDTH - RIGHT, logarithmic=False)
    y_place = _scale(y_ticks, HEIGHT - BOTTOM, TOP, logarithmic=logarithmic)

    def points(xs: Sequence[float], ys: Sequence[float]) -> list[str]:
        pairs = zip(xs, ys, strict=True)
        return [f"{x_place(x)},{y_place(y)}" for x, y in pairs if math.isfinite(y)]

    parts: list[Markup] = []
    for tick in y_ticks:
        parts.append(_line("grid", LEFT, y_place(tick), WIDTH - RIGHT, y_place(tick)))
        parts.append(_text("tick", LEFT - 8, y_place(tick) + 4, plain_number(tick), anchor="end"))
    parts += [
        _text("tick", x_place(tick), HEIGHT - BOTTOM + 18, plain_number(tick)) for tick in x_ticks
    ]
    for index, series in enumerate(curve.series):
        if series.low and series.high:
            outline = points(series.x, series.high) + points(series.x, series.low)[::-1]
            parts.append(
                Markup('<polygon class="band s{}" points="{}"/>').format(index, " ".join(outline))
            )
        line = points(series.x, series.y)
        parts.append(
            Markup('<polyline class="curve s{}" points="{}"/>').format(index, " ".join(line))
        )
        for point in line if len(line) <= 24 else ():
            x, y = point.split(",")
            parts.append(_circle(f"dot s{index}", float(x), float(y), 3))
    parts.append(_text("label", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, curve.x_label))
    parts.append(
        Markup(
            '<text class="label" transform="translate(14 {}) rotate(-90)" '
            'text-anchor="middle">{}</text>'
        ).format((TOP + HEIGHT - BOTTOM) / 2, curve.y_label)
    )
    return Markup(
        '<svg class="curve-chart" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, curve.title, Markup("").join(parts))


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers that enclose [low, high], about so many."""
    if not high > low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 12) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and their halves and doubles where there is room, that enclose [low, high]."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    steps = [10.0**power * factor for power in range(first, last + 1) for factor in factors]
    below = [step for step in steps if step <= low][-1:]
    above = [step for step in steps if step >= high][:1]
    return below + [step for step in steps if low < step < high] + above


def _extent(columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    values = [float(value) for column in columns for value in column if math.isfinite(value)]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _scale(
    marks: Sequence[float], start: float, end: float, *, logarithmic: bool
) -> Callable[[float], float]:
    """Value → pixel, from the first of `marks` at `start` to the last at `end`."""
    turn = math.log10 if logarithmic else float
    first, last = turn(marks[0]), turn(marks[-1])
    return lambda value: round(start + (turn(value) - first) / (last - first) * (end - start), 1)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, x1, y1, x2, y2)


def _circle(kind: str, x: float, y: float, radius: float) -> Markup:
    return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(kind, x, y, radius)


def _text(kind: str, x: float, y: float, text: str, *, anchor: str = "middle") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, text
    )
