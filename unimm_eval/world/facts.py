"""What the language knows of the world and no caption tells.

Each fact is a riddle with one answer: "the shape with three sides" is the triangle. Captions and
questions never use these words, so a picture drawn for a riddle shows that what was read was
understood.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from unimm_eval.world.captions import Metadata, noun
from unimm_eval.world.draw import coin, pick
from unimm_eval.world.scenes import SHAPES


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """`phrase` means `answer`, a shape or a colour."""

    kind: Literal["shape", "color"]
    phrase: str
    answer: str


_SHAPE_PHRASES = {
    "circle": ("like a coin", "like a plate", "of a full sun"),
    "square": ("with four equal sides", "of a window", "like a chess board"),
    "triangle": ("with three sides", "like a tent", "of a roof"),
    "diamond": ("like a kite", "of a cut gem", "on playing cards"),
    "cross": ("with twelve sides", "of the plus sign", "on a church"),
    "ring": ("worn on a finger", "with a hole", "like a wheel"),
    "moon": ("seen at night", "like a banana", "that pulls the sea"),
    "bar": ("like a plank", "of a ruler", "of a candy stick"),
}
_COLOR_PHRASES = {
    "red": ("of blood", "of a ripe tomato", "that means stop"),
    "orange": ("of a carrot", "of a pumpkin", "made by red and yellow"),
    "yellow": ("of a lemon", "of butter", "of a small chick"),
    "green": ("of grass", "that means go", "made by yellow and blue"),
    "cyan": ("of a shallow lagoon", "of pale ice", "made by blue and green"),
    "blue": ("of a clear sky", "of the deep ocean", "of jeans"),
    "purple": ("of a plum", "of lavender", "made by red and blue"),
    "white": ("of snow", "of milk", "of an empty page"),
}

FACTS: tuple[Fact, ...] = (
    *(
        Fact(kind="shape", phrase=f"the shape {phrase}", answer=shape)
        for shape, phrases in _SHAPE_PHRASES.items()
        for phrase in phrases
    ),
    *(
        Fact(kind="color", phrase=f"the color {phrase}", answer=color)
        for color, phrases in _COLOR_PHRASES.items()
        for phrase in phrases
    ),
)
_SHAPE_FACTS = tuple(fact for fact in FACTS if fact.kind == "shape")
_COLOR_FACTS = tuple(fact for fact in FACTS if fact.kind == "color")


def sample_riddle(rng: np.random.Generator) -> tuple[Metadata, Fact]:
    """A prompt that only the facts resolve, and the fact: metadata as of other prompts.

    Either "the shape with three sides" or "a circle in the color of snow".
    """
    if coin(rng):
        fact = pick(rng, _SHAPE_FACTS)
        include = {"class": fact.answer, "count": 1}
        return {"tag": "shape_riddle", "include": [include], "prompt": fact.phrase}, fact
    fact = pick(rng, _COLOR_FACTS)
    shape = pick(rng, SHAPES)
    include = {"class": shape, "count": 1, "color": fact.answer}
    prompt = f"{noun(shape)} in {fact.phrase}"
    return {"tag": "color_riddle", "include": [include], "prompt": prompt}, fact
