"""Everything that is in a picture, in words: dense captions to train on.

Colour, kind and place of each thing, in reading order. One such answer says as much about a picture
as many questions do; evaluation never asks for it.
"""

import numpy as np

from unimm_eval.world.digits import digit_label
from unimm_eval.world.draw import pick_some
from unimm_eval.world.pictures import Chart, Diagram, Page, Picture
from unimm_eval.world.scenes import CANVAS, CORNERS, Scene, Thing

INVENTORY_QUESTION = "what is here?"

_MIDDLE = (CANVAS // 2 - 2, CANVAS // 2 + 2)


def inventory(picture: Picture, rng: np.random.Generator | None = None) -> str:
    """The whole content of `picture`: in reading order, or with `rng` in any order of things and
    of what is said of each, so that any of its attributes may be what the others are found by."""
    facts = _facts(picture)
    if rng is not None:
        facts = [pick_some(rng, fact, len(fact)) for fact in pick_some(rng, facts, len(facts))]
    joint = " to " if isinstance(picture, Diagram) else " "
    return ", ".join(joint.join(fact) for fact in facts)


def _facts(picture: Picture) -> list[list[str]]:
    """What is said of each thing, link, bar or digit, in reading order."""
    match picture:
        case Scene():
            things = sorted(picture.things, key=_reading_order)
            return [[thing.color, thing.shape, place_of(thing)] for thing in things]
        case Diagram():
            all_ = picture.scene.things
            links = [sorted((all_[i], all_[j]), key=_reading_order) for i, j in picture.links]
            links.sort(key=lambda link: _reading_order(link[0]))
            return [[f"{thing.color} {thing.shape}" for thing in link] for link in links]
        case Chart():
            return [[color, str(height)] for color, height in picture.bars]
        case Page():
            marks = {mark.y: mark.color for mark in picture.marks.things}
            glyphs = sorted(picture.glyphs, key=lambda glyph: glyph.y if marks else glyph.x)
            return [[marks.get(g.y, g.color), str(digit_label(g.row))] for g in glyphs]


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
