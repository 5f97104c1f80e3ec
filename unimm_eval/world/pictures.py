"""Descriptions of every kind of picture the world draws.

A description is a few numbers and words; `render.render` turns it into pixels, always the same
ones, so a sample stores the description and never the picture.
"""

from dataclasses import dataclass
from typing import Any

from unimm_eval.world.scenes import Scene

Segment = tuple[int, int, int, int]

_NO_MARKS = Scene(things=())


@dataclass(frozen=True, kw_only=True, slots=True)
class Glyph:
    """A handwritten digit: `row` of the data set, centre pixel, side in pixels, colour of ink."""

    row: int
    x: int
    y: int
    size: int
    color: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagram:
    """Things, of which some are joined by lines (pairs of indices into the scene)."""

    scene: Scene
    links: tuple[tuple[int, int], ...]

    def to_json(self) -> dict[str, Any]:
        """A small description from which `from_json` makes an equal diagram."""
        return {
            "kind": "diagram",
            "scene": self.scene.to_json(),
            "links": [list(link) for link in self.links],
        }

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "Diagram":
        """The diagram that `to_json` described."""
        return cls(
            scene=Scene.from_json(description["scene"]),
            links=tuple((first, second) for first, second in description["links"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Bars from left to right: (colour, height in units of 4 pixels, 1 to 6)."""

    bars: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """A small description from which `from_json` makes an equal chart."""
        return {"kind": "chart", "bars": [list(bar) for bar in self.bars]}

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "Chart":
        """The chart that `to_json` described."""
        return cls(bars=tuple((color, height) for color, height in description["bars"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Handwriting, with the marks (a scene) and rules (lines) of a form if it is one."""

    glyphs: tuple[Glyph, ...]
    marks: Scene = _NO_MARKS
    rules: tuple[Segment, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A small description from which `from_json` makes an equal page."""
        return {
            "kind": "page",
            "glyphs": [[g.row, g.x, g.y, g.size, g.color] for g in self.glyphs],
            "marks": self.marks.to_json(),
            "rules": [list(rule) for rule in self.rules],
        }

    @classmethod
    def from_json(cls, description: dict[str, Any]) -> "Page":
        """The page that `to_json` described."""
        return cls(
            glyphs=tuple(
                Glyph(row=row, x=x, y=y, size=size, color=color)
                for row, x, y, size, color in description["glyphs"]
            ),
            marks=Scene.from_json(description["marks"]),
            rules=tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in description["rules"]),
        )


Picture = Scene | Diagram | Chart | Page

_KINDS: dict[str, type[Scene] | type[Diagram] | type[Chart] | type[Page]] = {
    "scene": Scene,
    "diagram": Diagram,
    "chart": Chart,
    "page": Page,
}


def picture_from_json(description: dict[str, Any]) -> Picture:
    """The picture that its `to_json` described."""
    kind = description.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of picture {kind!r}; one of {', '.join(_KINDS)}")
    return _KINDS[kind].from_json(description)
