"""Vision-centric: MMVP, RealWorldQA and CV-Bench's skills."""

from dataclasses import replace

import numpy as np

from unimm_eval.world.draw import coin, pick, pick_some
from unimm_eval.world.questions.asks import (
    ask_count,
    counted_scene,
    distinct_scene,
    few_scene,
    neighbours,
)
from unimm_eval.world.questions.base import Draft, Family, PairKind, SceneKind
from unimm_eval.world.scenes import (
    CANVAS,
    COLOR_NAMES,
    SHAPES,
    SIZES,
    Scene,
    Thing,
    place,
)

_LOOKALIKE_SHAPES = (
    ("ring", "circle"),
    ("square", "circle"),
    ("square", "diamond"),
    ("triangle", "diamond"),
    ("moon", "ring"),
    ("bar", "cross"),
)
_LOOKALIKE_COLORS = (
    ("red", "orange"),
    ("orange", "yellow"),
    ("yellow", "white"),
    ("green", "cyan"),
    ("cyan", "blue"),
    ("blue", "purple"),
)
_SIDES = ("left", "right", "top", "bottom")
_NEAR_EDGE = 6


def _draw_mmvp(rng: np.random.Generator) -> tuple[Draft, Draft]:
    """Two pictures of one thing that are equal but for its shape, colour, size or side."""
    thing = place(
        rng,
        shape=pick(rng, SHAPES),
        color=pick(rng, COLOR_NAMES),
        quadrant=int(rng.random() * 4),
        size=SIZES["medium"],
    )
    kind = pick(rng, ("shape", "color", "size", "side"))
    things: tuple[Thing, Thing]
    if kind == "shape":
        one, other = words = tuple(pick_some(rng, pick(rng, _LOOKALIKE_SHAPES), 2))
        things = (replace(thing, shape=one), replace(thing, shape=other))
    elif kind == "color":
        one, other = words = tuple(pick_some(rng, pick(rng, _LOOKALIKE_COLORS), 2))
        things = (replace(thing, color=one), replace(thing, color=other))
    elif kind == "size":
        words = ("small", "large")
        x, y = (7 + CANVAS // 2 * (place_ >= CANVAS // 2) for place_ in (thing.x, thing.y))
        here = replace(thing, x=x, y=y)
        things = (replace(here, size=SIZES["small"]), replace(here, size=SIZES["large"]))
    else:
        words = ("left", "right")
        column = thing.x % (CANVAS // 2)
        things = (replace(thing, x=column), replace(thing, x=column + CANVAS // 2))
    drafts = [
        Draft(
            picture=Scene(things=(member,)),
            question=f"{words[0]} or {words[1]}?",
            choices=words,
            answer=word,
        )
        for member, word in zip(things, words, strict=True)
    ]
    return drafts[0], drafts[1]


def _edge_scene(rng: np.random.Generator) -> Scene:
    """One to three small things, each at the middle of an edge."""
    count = 1 + int(rng.random() * 3)
    shapes, colors = pick_some(rng, SHAPES, count), pick_some(rng, COLOR_NAMES, count)
    things = []
    for shape, color, side in zip(shapes, colors, pick_some(rng, _SIDES, count), strict=True):
        depth = _NEAR_EDGE - int(rng.random() * 2)
        along = CANVAS // 2 - 1 + int(rng.random() * 3)
        across = depth if side in ("left", "top") else CANVAS - 1 - depth
        x, y = (across, along) if side in ("left", "right") else (along, across)
        things.append(Thing(shape=shape, color=color, x=x, y=y, size=SIZES["small"]))
    return Scene(things=tuple(things))


def _ask_side(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """Which edge a thing is at."""
    subject = pick(rng, scene.things)
    gaps = (subject.x, CANVAS - 1 - subject.x, subject.y, CANVAS - 1 - subject.y)
    near = [side for side, gap in zip(_SIDES, gaps, strict=True) if gap <= _NEAR_EDGE]
    centred = [gap for gap in gaps if abs(gap - CANVAS // 2) <= 2]
    if len(near) != 1 or len(centred) != 2:
        return None
    return Draft(
        picture=scene,
        question=f"which side is the {subject.shape} on?",
        choices=_SIDES,
        answer=near[0],
    )


def _ask_half(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """Which half of the picture a thing is in."""
    subject = pick(rng, scene.things)
    words = ("left", "right") if coin(rng) else ("top", "bottom")
    where = subject.x if words[0] == "left" else subject.y
    if abs(where - CANVAS // 2) <= 2:
        return None
    return Draft(
        picture=scene,
        question=f"is the {subject.color} shape {words[0]} or {words[1]}?",
        choices=words,
        answer=words[where >= CANVAS // 2],
    )


def _ask_relation(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """In which direction of its row or column one thing stands to another."""
    known = [found for found in neighbours(scene) if found[0].shape != found[2].shape]
    if not known:
        return None
    first, direction, second = pick(rng, known)
    if sum(thing.shape in (first.shape, second.shape) for thing in scene.things) > 2:
        return None
    words = ("above", "below") if direction in ("above", "below") else ("left", "right")
    tail = "" if words[0] == "above" else " of"
    return Draft(
        picture=scene,
        question=f"is the {first.shape} {words[0]} or {words[1]}{tail} the {second.shape}?",
        choices=words,
        answer=direction.removesuffix(" of"),
    )


def _depth_scene(rng: np.random.Generator) -> Scene:
    """A large thing low in the picture (near) and a small one high in it (far)."""
    near, far = pick_some(rng, SHAPES, 2)
    color, other = pick_some(rng, COLOR_NAMES, 2)
    things = (
        place(rng, shape=near, color=color, quadrant=2 + coin(rng), size=SIZES["large"]),
        place(rng, shape=far, color=other, quadrant=int(coin(rng)), size=SIZES["small"]),
    )
    return Scene(things=things)


def _ask_depth(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """Which of two things is nearer to the viewer, or farther."""
    if len(scene.things) != 2:
        return None
    far, near = sorted(scene.things, key=lambda thing: thing.y)
    if near.size <= far.size or near.quadrant // 2 == far.quadrant // 2:
        return None
    closer = coin(rng)
    first, second = pick_some(rng, (near.shape, far.shape), 2)
    return Draft(
        picture=scene,
        question=f"which is {'closer' if closer else 'farther'}, {first} or {second}?",
        choices=(first, second),
        answer=near.shape if closer else far.shape,
    )


FAMILIES = (
    Family(
        name="mmvp",
        group="Vision-centric",
        skill="pairs of pictures that differ in one fine attribute",
        kinds=(PairKind(draw=_draw_mmvp),),
    ),
    Family(
        name="realworldqa",
        group="Vision-centric",
        skill="where in the field of view a thing is",
        kinds=(
            SceneKind(scene=_edge_scene, ask=_ask_side),
            SceneKind(scene=distinct_scene, ask=_ask_half, shared=True),
        ),
    ),
    Family(
        name="cvbench2d",
        group="Vision-centric",
        skill="counts and spatial relations",
        kinds=(
            SceneKind(scene=counted_scene, ask=ask_count),
            SceneKind(scene=few_scene, ask=_ask_relation, shared=True),
        ),
    ),
    Family(
        name="cvbench3d",
        group="Vision-centric",
        skill="depth order by size and height in the picture",
        kinds=(SceneKind(scene=_depth_scene, ask=_ask_depth),),
    ),
)
