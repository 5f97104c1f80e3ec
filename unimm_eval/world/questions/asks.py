"""Scenes and wordings that several families share."""

import numpy as np

from unimm_eval.world.captions import plural
from unimm_eval.world.draw import coin, pick
from unimm_eval.world.questions.base import Draft
from unimm_eval.world.scenes import (
    DIRECTIONS,
    SHAPES,
    Scene,
    Thing,
    relation,
    sample_counted,
    sample_distinct,
)

COUNTS = ("1", "2", "3", "4")


def distinct_scene(rng: np.random.Generator) -> Scene:
    """Two to four things, no shape or colour twice."""
    return sample_distinct(rng, things=2 + int(rng.random() * 3))


def few_scene(rng: np.random.Generator) -> Scene:
    """Two or three things, no shape or colour twice."""
    return sample_distinct(rng, things=2 + coin(rng))


def small_scene(rng: np.random.Generator) -> Scene:
    """One to three things, no shape or colour twice."""
    return sample_distinct(rng, things=1 + int(rng.random() * 3))


def counted_scene(rng: np.random.Generator) -> Scene:
    """One to four things of the first thing's shape, equally often, and up to two others."""
    count = 1 + int(rng.random() * 4)
    others = int(rng.random() * (min(2, 4 - count) + 1))
    return sample_counted(rng, shape=pick(rng, SHAPES), count=count, others=others)


def count_of_first(scene: Scene) -> tuple[str, int]:
    """(shape of the first thing in the plural, how many things have that shape)."""
    shape = scene.things[0].shape
    return plural(shape), sum(thing.shape == shape for thing in scene.things)


def neighbours(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """All (first, direction, second) in a row or column."""
    return [
        (first, name, second)
        for first in scene.things
        for second in scene.things
        if first is not second and (name := relation(first, second)) in DIRECTIONS
    ]


def ask_count(rng: np.random.Generator, scene: Scene) -> Draft:
    """How many there are of the first thing's shape."""
    shapes, count = count_of_first(scene)
    return Draft(
        picture=scene,
        question=f"how many {shapes}?",
        choices=COUNTS,
        answer=str(count),
        movable=True,
    )
