"""Pixels of a picture: uint8 [32, 32, 3], a pure function of its description."""

import numpy as np

from unimm_eval.world.digits import digit_mask
from unimm_eval.world.pictures import Chart, Diagram, Glyph, Page, Picture, Segment
from unimm_eval.world.scenes import BACKGROUND, CANVAS, COLORS, Scene, Thing
from unimm_eval.world.shapes import shape_mask

_LINE = np.array((120, 120, 130), np.float32)
_BLANK = np.broadcast_to(np.array(BACKGROUND, np.float32), (CANVAS, CANVAS, 3))
_PALETTE = {name: np.array(rgb, np.float32) for name, rgb in COLORS.items()}
_GRID_Y, _GRID_X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)

# Bars of a chart: the baseline row, pixels a unit of height, width and spacing in pixels.
_BASELINE, _UNIT, _BAR_WIDTH, _BAR_STEP = 29, 4, 5, 7


def _blend(
    canvas: np.ndarray, mask: np.ndarray, rgb: np.ndarray, *, x: int, y: int, size: int
) -> None:
    left, top = x - size // 2, y - size // 2
    patch = canvas[top : top + size, left : left + size]
    patch += mask[:, :, None] * (rgb - patch)


def _draw_thing(canvas: np.ndarray, thing: Thing) -> None:
    mask = shape_mask(shape=thing.shape, size=thing.size)
    _blend(canvas, mask, _PALETTE[thing.color], x=thing.x, y=thing.y, size=thing.size)


def _draw_glyph(canvas: np.ndarray, glyph: Glyph) -> None:
    mask = digit_mask(row=glyph.row, size=glyph.size)
    _blend(canvas, mask, _PALETTE[glyph.color], x=glyph.x, y=glyph.y, size=glyph.size)


def _draw_line(canvas: np.ndarray, segment: Segment) -> None:
    """A gray line about one pixel wide, from the distance of each pixel to the segment."""
    x1, y1, x2, y2 = segment
    dx, dy = x2 - x1, y2 - y1
    along = np.clip(((_GRID_X - x1) * dx + (_GRID_Y - y1) * dy) / (dx * dx + dy * dy), 0, 1)
    distance = np.hypot(_GRID_X - x1 - along * dx, _GRID_Y - y1 - along * dy)
    cover = np.clip(1.2 - distance, 0, 1)
    canvas += cover[:, :, None] * (_LINE - canvas)


def _draw_chart(canvas: np.ndarray, chart: Chart) -> None:
    _draw_line(canvas, (1, _BASELINE, CANVAS - 2, _BASELINE))
    _draw_line(canvas, (1, _BASELINE - 6 * _UNIT, 1, _BASELINE))
    left = 4
    for color, height in chart.bars:
        top = _BASELINE - _UNIT * height
        canvas[top:_BASELINE, left : left + _BAR_WIDTH] = _PALETTE[color]
        left += _BAR_STEP


def render(picture: Picture) -> np.ndarray:
    """Draw `picture`: uint8 [32, 32, 3]."""
    canvas = _BLANK.copy()
    match picture:
        case Scene():
            for thing in picture.things:
                _draw_thing(canvas, thing)
        case Diagram():
            things = picture.scene.things
            for i, j in picture.links:
                _draw_line(canvas, (things[i].x, things[i].y, things[j].x, things[j].y))
            for thing in things:
                size = thing.size + 2
                _blend(canvas, _clearing(size), _BLANK[0, 0], x=thing.x, y=thing.y, size=size)
                _draw_thing(canvas, thing)
        case Chart():
            _draw_chart(canvas, picture)
        case Page():
            for rule in picture.rules:
                _draw_line(canvas, rule)
            for thing in picture.marks.things:
                _draw_thing(canvas, thing)
            for glyph in picture.glyphs:
                _draw_glyph(canvas, glyph)
    return np.rint(canvas).astype(np.uint8)


def _clearing(size: int) -> np.ndarray:
    """A disc cut out of the lines of a diagram, so that they end at a thing, not inside it."""
    return shape_mask(shape="circle", size=size)
