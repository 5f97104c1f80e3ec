"""Elementary questions: one attribute of one thing, and how a lettered option is picked.

What the families ask is made of these steps. Training shows them alone; evaluation never does.
"""

import numpy as np

from unimm_eval.world.draw import Split, pick, pick_some
from unimm_eval.world.holdout import scene_is_held_out
from unimm_eval.world.inventory import place_of
from unimm_eval.world.questions.asks import distinct_scene
from unimm_eval.world.questions.base import LETTERS
from unimm_eval.world.scenes import (
    COLOR_NAMES,
    CORNERS,
    SHAPES,
    Scene,
    Thing,
    relation,
)

# Picking letters is the slowest to be learned.
_KINDS = ("shape", "color", "at", "where", "who", "beside") + 3 * ("letter", "letters")


def sample_elements(
    rng: np.random.Generator, *, split: Split, k: int
) -> tuple[Scene, list[tuple[str, str]]]:
    """A scene of different shapes and colours and up to `k` different (question, answer) about it.

    Raises ValueError outside training: no evaluation asks these.
    """
    if split != "train":
        raise ValueError(f"elementary questions are for training, not for {split!r}")
    scene = distinct_scene(rng)
    while scene_is_held_out(scene):
        scene = distinct_scene(rng)
    return scene, list(dict(_ask(rng, scene, pick(rng, _KINDS)) for _ in range(k)).items())


def _ask(rng: np.random.Generator, scene: Scene, kind: str) -> tuple[str, str]:
    thing = pick(rng, scene.things)
    other = pick(rng, scene.things)
    if kind in ("letter", "letters"):
        return _pick_letter(rng, every=kind == "letters")
    if kind == "beside" and other is not thing:
        return f"the {thing.shape} is where from the {other.shape}?", _from(thing, other)
    return {
        "shape": (f"what shape is {thing.color}?", thing.shape),
        "color": (f"what color is the {thing.shape}?", thing.color),
        "at": (f"what is {CORNERS[thing.quadrant]}?", thing.shape),
        "where": (f"where is the {thing.shape}?", place_of(thing)),
    }.get(kind, (f"where is the {thing.color} one?", place_of(thing)))


def _from(thing: Thing, other: Thing) -> str:
    """The direction, or both where they stand across."""
    straight = relation(thing, other)
    if straight != "beside":
        return straight.removesuffix(" of")
    return f"{'above' if thing.y < other.y else 'below'} {'left' if thing.x < other.x else 'right'}"


def _pick_letter(rng: np.random.Generator, *, every: bool) -> tuple[str, str]:
    """The letter of one of four options, or of each of them in any order."""
    words = pick_some(rng, pick(rng, (SHAPES, COLOR_NAMES, ("1", "2", "3", "4"))), len(LETTERS))
    options = list(zip(LETTERS, words, strict=True))
    listed = " ".join(f"{letter} {word}" for letter, word in options)
    if every:
        asked = pick_some(rng, options, len(options))
        return f"which is which? {listed}", ", ".join(f"{word} {name}" for name, word in asked)
    letter, word = pick(rng, options)
    return f"which is {word}? {listed}", letter
