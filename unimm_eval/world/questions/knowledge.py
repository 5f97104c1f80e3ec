"""Knowledge: ScienceQA, MMMU, MathVista and AI2D's skills."""

from collections.abc import Callable

import numpy as np

from unimm_eval.world.draw import Split, pick, pick_some
from unimm_eval.world.pictures import Diagram, Picture
from unimm_eval.world.questions.asks import count_of_first, counted_scene
from unimm_eval.world.questions.base import Draft, Family, PictureKind, SceneKind, first_wanted
from unimm_eval.world.scenes import COLOR_NAMES, SHAPES, Scene, arrange, place

# A crescent's two tips are not everybody's corners, so the moon is never asked about.
_CORNERS = {
    "0": ("circle", "ring"),
    "3": ("triangle",),
    "4": ("square", "diamond", "bar"),
    "12": ("cross",),
}
_CORNERS_OF = {shape: number for number, shapes in _CORNERS.items() for shape in shapes}

# Additive mixing of lights.
_LIGHTS = {
    "yellow": ("red", "green"),
    "cyan": ("green", "blue"),
    "purple": ("red", "blue"),
    "white": ("red", "green", "blue"),
}


def _cornered_scene(rng: np.random.Generator) -> Scene:
    shape = pick(rng, _CORNERS[pick(rng, tuple(_CORNERS))])
    others = pick_some(rng, [name for name in SHAPES if name != shape], int(rng.random() * 3))
    colors = pick_some(rng, COLOR_NAMES, 1 + len(others))
    return arrange(rng, shapes=[shape, *others], colors=colors)


def _ask_sqa(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """How many corners the first thing has."""
    subject = scene.things[0]
    if subject.shape not in _CORNERS_OF:
        return None
    return Draft(
        picture=scene,
        question=f"how many corners has the {subject.color} shape?",
        choices=tuple(_CORNERS),
        answer=_CORNERS_OF[subject.shape],
        bound=(subject.shape,),
        movable=True,
    )


def _lights_scene(rng: np.random.Generator) -> Scene:
    colors = _LIGHTS[pick(rng, tuple(_LIGHTS))]
    return arrange(
        rng,
        shapes=pick_some(rng, SHAPES, len(colors)),
        colors=pick_some(rng, colors, len(colors)),
    )


def _ask_mmmu(rng: np.random.Generator, scene: Scene) -> Draft | None:
    """The colour of all lights together."""
    shown = {thing.color for thing in scene.things}
    for color, parts in _LIGHTS.items():
        if shown == set(parts):
            return Draft(
                picture=scene,
                question="these lights mix to what color?",
                choices=tuple(_LIGHTS),
                answer=color,
                bound=COLOR_NAMES,
                movable=True,
            )
    return None


def _ask_mathvista(rng: np.random.Generator, scene: Scene) -> Draft:
    """A sum or difference with a count."""
    shapes, count = count_of_first(scene)
    sign, step = pick(rng, (("plus", 1), ("plus", 2), ("plus", 3), ("minus", 1)))
    change = step if sign == "plus" else -step
    return Draft(
        picture=scene,
        question=f"how many {shapes}, {sign} {step}?",
        choices=tuple(str(number + change) for number in (1, 2, 3, 4)),
        answer=str(count + change),
        movable=True,
    )


def _draw_ai2d(rng: np.random.Generator, split: Split, wanted: Callable[[Picture], bool]) -> Draft:
    """Four things, joined two by two: what is joined with one of them."""
    subject, answer = pick_some(rng, SHAPES, 2)
    others = [name for name in SHAPES if name not in (subject, answer)]

    def diagram() -> Picture:
        shapes = [subject, answer, *pick_some(rng, others, 2)]
        where = pick_some(rng, range(4), 4)
        colors = pick_some(rng, COLOR_NAMES, 4)
        things = tuple(
            place(rng, shape=shape, color=color, quadrant=quadrant, size=9)
            for shape, color, quadrant in zip(shapes, colors, where, strict=True)
        )
        return Diagram(scene=Scene(things=things), links=((0, 1), (2, 3)))

    return Draft(
        picture=first_wanted(diagram, wanted),
        question=f"what is linked to the {subject}?",
        choices=tuple(name for name in SHAPES if name != subject),
        answer=answer,
    )


FAMILIES = (
    Family(
        name="sqa",
        group="Knowledge",
        skill="geometry of a shape found by its colour",
        kinds=(SceneKind(scene=_cornered_scene, ask=_ask_sqa),),
    ),
    Family(
        name="mmmu",
        group="Knowledge",
        skill="optics: what colour lights add up to",
        kinds=(SceneKind(scene=_lights_scene, ask=_ask_mmmu),),
    ),
    Family(
        name="mathvista",
        group="Knowledge",
        skill="arithmetic on a count",
        kinds=(SceneKind(scene=counted_scene, ask=_ask_mathvista),),
    ),
    Family(
        name="ai2d",
        group="Knowledge",
        skill="links of a diagram",
        kinds=(PictureKind(draw=_draw_ai2d),),
    ),
)
