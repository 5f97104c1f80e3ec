"""Scenes: one to four coloured shapes, each in its own quadrant of a 32 x 32 canvas.

Coordinates are integer pixels, x to the right and y downwards; a thing of (odd) size s centred on
pixel (x, y) covers the s x s pixels around it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unimm_eval.world.draw import pick, pick_some

CANVAS = 32
QUADRANT = 16
BACKGROUND = (28, 28, 36)

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring", "moon", "bar")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 30, 40),
    "orange": (255, 140, 0),
    "yellow": (255, 235, 40),
    "green": (30, 170, 50),
    "cyan": (40, 225, 225),
    "blue": (45, 80, 245),
    "purple": (180, 50, 210),
    "white": (250, 250, 250),
}
COLOR_NAMES = tuple(COLORS)
SIZES = {"small": 9, "medium": 11, "large": 13}

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
DIRECTIONS = tuple(OPPOSITE)

# Quadrants are numbered 0 top left, 1 top right, 2 bottom left, 3 bottom right.
CORNERS = ("top left", "top right", "bottom left", "bottom right")
_PLACES = {
    "left of": ((0, 1), (2, 3)),
    "right of": ((1, 0), (3, 2)),
    "above": ((0, 2), (1, 3)),
    "below": ((2, 0), (3, 1)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A coloured shape: `x`, `y` its centre pixel, `size` the side of its box, in pixels."""

    shape: str
    color: str
    x: int
    y: int
    size: int

    @property
    def quadrant(self) -> int:
        """0 top left, 1 top right, 2 bottom left, 3 bottom right."""
        return 2 * (self.y >= QUADRANT) + (self.x >= QUADRANT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Things that do not overlap."""

    things: tuple[Thing, ...]

    def to_json(self) -> dict[str, Any]:
        """A small description from which `from_json` makes an equal scene."""
        rows = [[t.shape, t.color, t.x, t.y, t.size] for t in self.things]
        return {"kind": "scene", "things": rows}

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "Scene":
        """The scene that `to_json` described."""
        return cls(
            things=tuple(
                Thing(shape=shape, color=color, x=x, y=y, size=size)
                for shape, color, x, y, size in description["things"]
            )
        )


def relation(first: Thing, second: Thing) -> str:
    """How `first` stands to `second`: a direction within a row or column, else "beside"."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dy) < QUADRANT // 2 <= abs(dx):
        return "left of" if dx < 0 else "right of"
    if abs(dx) < QUADRANT // 2 <= abs(dy):
        return "above" if dy < 0 else "below"
    return "beside"


def place(
    rng: np.random.Generator, *, shape: str, color: str, quadrant: int, size: int | None = None
) -> Thing:
    """A thing in `quadrant`, off its middle by what leaves two pixels between any two things."""
    side = size if size is not None else pick(rng, tuple(SIZES.values()))
    lowest = max(6, side // 2 + 1)
    room = QUADRANT - 2 * lowest
    return Thing(
        shape=shape,
        color=color,
        x=QUADRANT * (quadrant % 2) + lowest + int(rng.random() * room),
        y=QUADRANT * (quadrant // 2) + lowest + int(rng.random() * room),
        size=side,
    )


def quadrants_for(rng: np.random.Generator, direction: str) -> tuple[int, int]:
    """Two quadrants of which the first is `direction` ("left of", ...) the second."""
    return pick(rng, _PLACES[direction])


def arrange(
    rng: np.random.Generator,
    *,
    shapes: Sequence[str],
    colors: Sequence[str],
    quadrants: Sequence[int] | None = None,
) -> Scene:
    """A scene of the given shapes and colours; sizes, and places if not given, are free."""
    where = pick_some(rng, range(4), len(shapes)) if quadrants is None else quadrants
    return Scene(
        things=tuple(
            place(rng, shape=shape, color=color, quadrant=quadrant)
            for shape, color, quadrant in zip(shapes, colors, where, strict=True)
        )
    )


def sample_distinct(rng: np.random.Generator, *, things: int) -> Scene:
    """A scene in which no shape and no colour occurs twice; symmetric in both."""
    shapes = pick_some(rng, SHAPES, things)
    return arrange(rng, shapes=shapes, colors=pick_some(rng, COLOR_NAMES, things))


def sample_counted(rng: np.random.Generator, *, shape: str, count: int, others: int) -> Scene:
    """A scene with `count` things of `shape` and `others` of different shapes, colours free."""
    rest = [name for name in SHAPES if name != shape]
    shapes = [shape] * count + pick_some(rng, rest, others)
    return arrange(rng, shapes=shapes, colors=[pick(rng, COLOR_NAMES) for _ in shapes])
