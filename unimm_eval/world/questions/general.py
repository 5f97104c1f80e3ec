"""General: MMBench, SEED, MME and GQA's skills."""

import numpy as np

from unimm_eval.world.captions import noun
from unimm_eval.world.draw import coin, pick
from unimm_eval.world.questions.asks import (
    COUNTS,
    count_of_first,
    counted_scene,
    distinct_scene,
    few_scene,
    neighbours,
    small_scene,
)
from unimm_eval.world.questions.base import Draft, Family, SceneKind, lettered
from unimm_eval.world.scenes import COLOR_NAMES, CORNERS, QUADRANT, SHAPES, Scene


def _ask_mmbench(rng: np.random.Generator, scene: Scene) -> Draft:
    """The shape of a colour, or the colour of a shape, of four options."""
    subject = pick(rng, scene.things)
    if coin(rng):
        return lettered(
            rng,
            picture=scene,
            stem=f"what shape is {subject.color}?",
            answer=subject.shape,
            likely=[thing.shape for thing in scene.things],
            others=SHAPES,
            movable=True,
        )
    return lettered(
        rng,
        picture=scene,
        stem=f"what color is the {subject.shape}?",
        answer=subject.color,
        likely=[thing.color for thing in scene.things],
        others=COLOR_NAMES,
        movable=True,
    )


def _ask_seed_count(rng: np.random.Generator, scene: Scene) -> Draft:
    """A count, of four options."""
    shapes, count = count_of_first(scene)
    return lettered(
        rng,
        picture=scene,
        stem=f"how many {shapes}?",
        answer=str(count),
        likely=(),
        others=COUNTS,
        movable=True,
    )


def _ask_seed_place(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """What stands in a corner, of four options."""
    subject = pick(rng, scene.things)
    if any(min(abs(t.x - QUADRANT), abs(t.y - QUADRANT)) <= 2 for t in scene.things):
        return None
    return lettered(
        rng,
        picture=scene,
        stem=f"what is {CORNERS[subject.quadrant]}?",
        answer=subject.shape,
        likely=[thing.shape for thing in scene.things],
        others=SHAPES,
    )


def ask_mme(rng: np.random.Generator, scene: Scene) -> Draft:
    """Whether a thing is there; if not, then one that differs from it in one attribute is."""
    subject = pick(rng, scene.things)
    shape, color = subject.shape, subject.color
    answer = "yes" if coin(rng) else "no"
    if answer == "no":
        rest = [thing for thing in scene.things if thing is not subject]
        binding = bool(rest) and coin(rng)
        if coin(rng):
            shapes = [name for name in SHAPES if name != shape]
            shape = pick(rng, rest).shape if binding else pick(rng, shapes)
        else:
            colors = [name for name in COLOR_NAMES if name != color]
            color = pick(rng, rest).color if binding else pick(rng, colors)
    return Draft(
        picture=scene,
        question=f"is there {noun(shape, color)}?",
        choices=("yes", "no"),
        answer=answer,
        movable=True,
    )


def _ask_gqa(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """The colour or shape of what stands in a relation to a thing."""
    known = neighbours(scene)
    if not known:
        return None
    subject, direction, other = pick(rng, known)
    if coin(rng):
        return Draft(
            picture=scene,
            question=f"what color is {direction} the {other.shape}?",
            choices=COLOR_NAMES,
            answer=subject.color,
        )
    return Draft(
        picture=scene,
        question=f"what shape is {direction} the {other.color} one?",
        choices=SHAPES,
        answer=subject.shape,
    )


FAMILIES = (
    Family(
        name="mmbench",
        group="General",
        skill="four-option questions on attributes",
        kinds=(SceneKind(scene=few_scene, ask=_ask_mmbench, shared=True),),
    ),
    Family(
        name="seed",
        group="General",
        skill="four-option questions on counts and places",
        kinds=(
            SceneKind(scene=counted_scene, ask=_ask_seed_count),
            SceneKind(scene=few_scene, ask=_ask_seed_place, shared=True),
        ),
    ),
    Family(
        name="mme",
        group="General",
        skill="whether a thing is there",
        kinds=(SceneKind(scene=small_scene, ask=ask_mme, shared=True),),
    ),
    Family(
        name="gqa",
        group="General",
        skill="attributes through a relation",
        kinds=(SceneKind(scene=distinct_scene, ask=_ask_gqa, shared=True),),
    ),
)
