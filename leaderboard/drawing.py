"""What the plots are drawn with: shapes as inline SVG, scales, and labels that keep out of each
other's way.

Numbers and escaped text alone enter the markup; colours come from the style sheet by class.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from unimm_eval.report.charts import log_ticks, ticks

CHARACTER = 6.6
"""Width of a character of a label, in units of the picture."""
LINE = 14

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Value → coordinate between `start` and `end`, with round marks."""

    marks: Sequence[float]
    place: Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure: the drawing, what it shows in words, and its numbers as a table."""

    title: str
    words: str
    svg: Markup
    head: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]


def scale(values: Sequence[float], start: float, end: float, *, logarithmic: bool) -> Scale:
    """A scale that holds `values`, linear or logarithmic (all values above 0)."""
    low, high = min(values), max(values)
    if logarithmic:
        if high < 4 * low:
            low, high = low / 2, high * 2
        marks = log_ticks(low, high)
        if len(marks) > 7:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [10.0**power for power in powers]
    else:
        marks = ticks(low, high)
    turn: Callable[[float], float] = math.log10 if logarithmic else float
    first, last = turn(marks[0]), turn(marks[-1])
    return Scale(
        marks=marks,
        place=lambda value: round(
            start + (turn(value) - first) / (last - first) * (end - start), 1
        ),
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup(f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>')


def circle(kind: str, x: float, y: float, radius: float, title: str = "") -> Markup:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return Markup(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{radius:g}">{inside}</circle>')


def path(kind: str, points: Sequence[tuple[float, float]], *, closed: bool = False) -> Markup:
    tag = "polygon" if closed else "polyline"
    return Markup(f'<{tag} class="{kind}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>')


def text(kind: str, x: float, y: float, words: str, *, anchor: str = "middle") -> Markup:
    return Markup(
        f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def upright(kind: str, x: float, y: float, words: str) -> Markup:
    """Text from bottom to top."""
    return Markup(
        f'<text class="{kind}" transform="translate({x:g} {y:g}) rotate(-90)" '
        f'text-anchor="middle">{escape(words)}</text>'
    )


def link(href: str, inside: Markup, *, name: str) -> Markup:
    return Markup(f'<a href="{escape(href)}" aria-label="{escape(name)}">{inside}</a>')


def picture(
    kind: str, width: int, height: int, title: str, parts: Sequence[Markup], *, linked: bool = False
) -> Markup:
    """A whole SVG. One that holds links is a group to assistive technology, else one image."""
    role = "group" if linked else "img"
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="{role}" '
        f'aria-label="{escape(title)}">{Markup("").join(parts)}</svg>'
    )


def place_labels(
    points: Sequence[tuple[float, float, str]], taken: Sequence[Box], bounds: Box
) -> list[tuple[float, float, str] | None]:
    """For each (x, y, words) where its label goes, with its anchor, or None where there is no room.
    Labels avoid each other, all that is `taken` and the edge; the first come first."""
    boxes = list(taken)
    found: list[tuple[float, float, str] | None] = []
    for x, y, words in points:
        width = len(words) * CHARACTER
        choices = [
            (x + 9, y + 4, "start", (x + 9, y - 8, x + 9 + width, y + 7)),
            (x - 9, y + 4, "end", (x - 9 - width, y - 8, x - 9, y + 7)),
            (x, y - 11, "middle", (x - width / 2, y - 23, x + width / 2, y - 8)),
            (x, y + 20, "middle", (x - width / 2, y + 8, x + width / 2, y + 23)),
        ]
        for label_x, label_y, anchor, box in choices:
            if _inside(box, bounds) and not any(_meet(box, other) for other in boxes):
                boxes.append(box)
                found.append((label_x, label_y, anchor))
                break
        else:
            found.append(None)
    return found


def _inside(box: Box, bounds: Box) -> bool:
    return (
        box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
    )


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
