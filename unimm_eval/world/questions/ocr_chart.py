"""OCR & Chart: ChartQA, OCRBench, TextVQA and DocVQA's skills."""

from collections.abc import Callable

import numpy as np

from unimm_eval.world.digits import digit_rows
from unimm_eval.world.draw import Split, coin, pick, pick_some
from unimm_eval.world.pictures import Chart, Glyph, Page, Picture
from unimm_eval.world.questions.base import Draft, Family, PictureKind, first_wanted
from unimm_eval.world.scenes import CANVAS, COLOR_NAMES, Scene, Thing

_DIGITS = tuple(str(digit) for digit in range(10))
_HEIGHTS = (1, 2, 3, 4, 5, 6)
_FORM_ROWS = (5, 16, 26)  # centre pixel of each row
_FORM_RULES = ((1, 10, 30, 10), (1, 21, 30, 21))

Wanted = Callable[[Picture], bool]


def _glyph(
    rng: np.random.Generator, *, label: str, split: Split, x: int, y: int, size: int, color: str
) -> Glyph:
    row = pick(rng, digit_rows(label=int(label), split=split))
    return Glyph(row=row, x=x, y=y, size=size, color=color)


def _others(rng: np.random.Generator, names: tuple[str, ...], name: str, k: int) -> list[str]:
    return pick_some(rng, [other for other in names if other != name], k)


def _draw_height(rng: np.random.Generator, split: Split, wanted: Wanted) -> Draft:
    """How tall one bar is."""
    color, height = pick(rng, COLOR_NAMES), pick(rng, _HEIGHTS)

    def chart() -> Picture:
        rest = _others(rng, COLOR_NAMES, color, 2 + coin(rng))
        bars = [(color, height), *((other, pick(rng, _HEIGHTS)) for other in rest)]
        return Chart(bars=tuple(pick_some(rng, bars, len(bars))))

    return Draft(
        picture=first_wanted(chart, wanted),
        question=f"how tall is the {color} bar?",
        choices=tuple(str(number) for number in _HEIGHTS),
        answer=str(height),
    )


def _draw_extreme(rng: np.random.Generator, split: Split, wanted: Wanted) -> Draft:
    """The colour of the tallest or shortest bar."""
    color = pick(rng, COLOR_NAMES)
    tallest = coin(rng)

    def chart() -> Picture:
        rest = _others(rng, COLOR_NAMES, color, 2 + coin(rng))
        heights = sorted(pick_some(rng, _HEIGHTS, 1 + len(rest)), reverse=tallest)
        bars = list(zip([color, *rest], heights, strict=True))
        return Chart(bars=tuple(pick_some(rng, bars, len(bars))))

    return Draft(
        picture=first_wanted(chart, wanted),
        question=f"what color is the {'tallest' if tallest else 'shortest'} bar?",
        choices=COLOR_NAMES,
        answer=color,
    )


def _draw_ocrbench(rng: np.random.Generator, split: Split, wanted: Wanted) -> Draft:
    """One large handwritten digit."""
    answer = pick(rng, _DIGITS)

    def page() -> Picture:
        x, y = 15 + int(rng.random() * 3), 15 + int(rng.random() * 3)
        color = pick(rng, COLOR_NAMES)
        glyph = _glyph(rng, label=answer, split=split, x=x, y=y, size=24, color=color)
        return Page(glyphs=(glyph,))

    return Draft(
        picture=first_wanted(page, wanted),
        question="what digit is this?",
        choices=_DIGITS,
        answer=answer,
    )


def _draw_textvqa(rng: np.random.Generator, split: Split, wanted: Wanted) -> Draft:
    """Two digits side by side, of which the one in a colour is read."""
    answer, color = pick(rng, _DIGITS), pick(rng, COLOR_NAMES)

    def page() -> Picture:
        inks = [(answer, color), (pick(rng, _DIGITS), _others(rng, COLOR_NAMES, color, 1)[0])]
        y = 15 + int(rng.random() * 3)
        return Page(
            glyphs=tuple(
                _glyph(rng, label=label, split=split, x=x, y=y, size=15, color=ink)
                for (label, ink), x in zip(pick_some(rng, inks, 2), (8, 24), strict=True)
            )
        )

    return Draft(
        picture=first_wanted(page, wanted),
        question=f"what digit is {color}?",
        choices=_DIGITS,
        answer=answer,
    )


def _draw_docvqa(rng: np.random.Generator, split: Split, wanted: Wanted) -> Draft:
    """A form of three rows, each a coloured mark and a digit."""
    answer, color = pick(rng, _DIGITS), pick(rng, COLOR_NAMES)

    def page() -> Picture:
        rest = _others(rng, COLOR_NAMES, color, 2)
        fields = [(color, answer), *((other, pick(rng, _DIGITS)) for other in rest)]
        rows = list(zip(pick_some(rng, fields, 3), _FORM_ROWS, strict=True))
        marks = (Thing(shape="square", color=mark, x=6, y=y, size=7) for (mark, _), y in rows)
        return Page(
            glyphs=tuple(
                _glyph(rng, label=label, split=split, x=CANVAS - 10, y=y, size=9, color="white")
                for (_, label), y in rows
            ),
            marks=Scene(things=tuple(marks)),
            rules=_FORM_RULES,
        )

    return Draft(
        picture=first_wanted(page, wanted),
        question=f"what digit is beside the {color} mark?",
        choices=_DIGITS,
        answer=answer,
    )


FAMILIES = (
    Family(
        name="chartqa",
        group="OCR & Chart",
        skill="bar charts",
        kinds=(PictureKind(draw=_draw_height), PictureKind(draw=_draw_extreme)),
    ),
    Family(
        name="ocrbench",
        group="OCR & Chart",
        skill="a handwritten digit",
        kinds=(PictureKind(draw=_draw_ocrbench),),
    ),
    Family(
        name="textvqa",
        group="OCR & Chart",
        skill="a handwritten digit found by its colour",
        kinds=(PictureKind(draw=_draw_textvqa),),
    ),
    Family(
        name="docvqa",
        group="OCR & Chart",
        skill="a field of a form",
        kinds=(PictureKind(draw=_draw_docvqa),),
    ),
)
