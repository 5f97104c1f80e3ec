"""Everything that is in a picture, in words: dense captions to train on.

Colour, kind and place of each thing, in reading order. One such answer says as much about a picture
as many questions do; evaluation never asks for it.
"""

from unimm_eval.world.digits import digit_label
from unimm_eval.world.pictures import Chart, Diagram, Page, Picture
from unimm_eval.world.scenes import CANVAS, CORNERS, Scene, Thing

INVENTORY_QUESTION = "what is here?"

_MIDDLE = (CANVAS // 2 - 2, CANVAS // 2 + 2)


def inventory(picture: Picture) -> str:
    """The whole content of `picture`."""
    match picture:
        case Scene():
            things = sorted(picture.things, key=_reading_order)
            return ", ".join(f"{_named(thing)} {place_of(thing)}" for thing in things)
        case Diagram():
            things = picture.scene.things
            links = [sorted((things[i], things[j]), key=_reading_order) for i, j in picture.links]
            links.sort(key=lambda link: _reading_order(link[0]))
            return ", ".join(f"{_named(first)} to {_named(last)}" for first, last in links)
        case Chart():
            return ", ".join(f"{color} {height}" for color, height in picture.bars)
        case Page():
            glyphs = sorted(picture.glyphs, key=lambda glyph: (glyph.y, glyph.x))
            if not picture.marks.things:
                glyphs.sort(key=lambda glyph: glyph.x)
                return ", ".join(f"{glyph.color} {digit_label(glyph.row)}" for glyph in glyphs)
            marks = {mark.y: mark.color for mark in picture.marks.things}
            return ", ".join(f"{marks[glyph.y]} {digit_label(glyph.row)}" for glyph in glyphs)


def _named(thing: Thing) -> str:
    return f"{thing.color} {thing.shape}"


def _reading_order(thing: Thing) -> tuple[bool, bool, int, int]:
    lower, right = thing.y >= CANVAS // 2, thing.x >= CANVAS // 2
    return lower, right, thing.y, thing.x


def place_of(thing: Thing) -> str:
    """A corner, or a side for what stands at the middle of one."""
    low, high = _MIDDLE
    if low <= thing.x <= high:
        return "top" if thing.y < CANVAS // 2 else "bottom"
    if low <= thing.y <= high:
        return "left" if thing.x < CANVAS // 2 else "right"
    return CORNERS[thing.quadrant]
