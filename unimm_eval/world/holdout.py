"""The combinations that training never sees.

Two fixed rules, each holding out about 20 %:

- a shape in a colour in a relation ("a red circle that is left of something"), and
- two shapes along an axis ("a circle and a ring in one row").

The second is the same for both directions of an axis, because holding out only "circle left of
ring" would teach a model, by the words alone, that a circle and a ring in question must stand the
other way. The rules are Latin squares rather than hashes: every shape, colour and relation loses
the same share, so all stay common in training.
"""

from itertools import pairwise

from unimm_eval.world.digits import digit_label
from unimm_eval.world.pictures import Chart, Diagram, Page, Picture
from unimm_eval.world.scenes import COLOR_NAMES, DIRECTIONS, SHAPES, Scene, relation

RELATIONS = ("alone", "count", "beside", "linked", *DIRECTIONS)
AXES = {
    "beside": "beside",
    "left of": "row",
    "right of": "row",
    "above": "column",
    "below": "column",
}
_AXIS_SHIFT = {"beside": 1, "row": 2, "column": 4}
HELD_OUT_SHARE = 0.25  # of evaluation samples, where a task can state a held-out combination


def _attribute_rule(shape: str, color: str, relation_name: str) -> bool:
    shift = RELATIONS.index(relation_name)
    return (SHAPES.index(shape) + 2 * COLOR_NAMES.index(color) + shift) % 5 == 0


def _pair_rule(first: str, second: str, axis: str) -> bool:
    low, high = sorted((SHAPES.index(first), SHAPES.index(second)))
    return low != high and (low + 3 * high + _AXIS_SHIFT[axis]) % 5 == 0


HELD_OUT_ATTRIBUTES = frozenset(
    (s, c, r) for s in SHAPES for c in COLOR_NAMES for r in RELATIONS if _attribute_rule(s, c, r)
)
HELD_OUT_PAIRS = frozenset(
    (a, b, r) for a in SHAPES for b in SHAPES for r in AXES if _pair_rule(a, b, AXES[r])
)


def is_held_out(*, shape: str, color: str, relation: str) -> bool:
    """Whether training never shows or states a `color` `shape` in `relation` (see RELATIONS)."""
    return (shape, color, relation) in HELD_OUT_ATTRIBUTES


def is_pair_held_out(*, first: str, second: str, relation: str) -> bool:
    """Whether training never shows or states these two shapes along the axis of `relation`."""
    return (first, second, relation) in HELD_OUT_PAIRS


def is_order_held_out(first: int, second: int) -> bool:
    """Whether training never puts item `second` right after item `first` (digits, bar colours)."""
    return (first + 3 * second) % 5 == 0


def scene_is_held_out(scene: Scene) -> bool:
    """Whether any thing or any two neighbours of `scene` are in a held-out combination.

    Neighbours share a row or a column; only in a scene of two do things on a diagonal count, as
    being beside each other.
    """
    things = scene.things
    if len(things) == 1:
        return (things[0].shape, things[0].color, "alone") in HELD_OUT_ATTRIBUTES
    for i, first in enumerate(things):
        for second in things[:i]:
            if first.shape == second.shape:
                if (first.shape, first.color, "count") in HELD_OUT_ATTRIBUTES:
                    return True
                if (second.shape, second.color, "count") in HELD_OUT_ATTRIBUTES:
                    return True
                continue
            name = relation(first, second)
            if name == "beside" and len(things) > 2:
                continue
            back = relation(second, first)
            if (
                (first.shape, first.color, name) in HELD_OUT_ATTRIBUTES
                or (second.shape, second.color, back) in HELD_OUT_ATTRIBUTES
                or (first.shape, second.shape, name) in HELD_OUT_PAIRS
            ):
                return True
    return False


def picture_is_held_out(picture: Picture) -> bool:
    """Whether `picture` shows a held-out combination.

    A diagram by its things, being linked; a chart by neighbouring bars' colours; a page by
    neighbouring digits, or, if there is but one, by its colour.
    """
    match picture:
        case Scene():
            return scene_is_held_out(picture)
        case Diagram():
            things = picture.scene.things
            return any((t.shape, t.color, "linked") in HELD_OUT_ATTRIBUTES for t in things)
        case Chart():
            items = [COLOR_NAMES.index(color) for color, _ in picture.bars]
        case Page():
            items = [digit_label(glyph.row) for glyph in picture.glyphs]
            if len(items) == 1:
                items.append(COLOR_NAMES.index(picture.glyphs[0].color))
    return any(is_order_held_out(first, second) for first, second in pairwise(items))
