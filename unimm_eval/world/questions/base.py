"""What a question is, and what a family of questions is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from unimm_eval.world.draw import Split, pick, pick_some
from unimm_eval.world.pictures import Picture, picture_from_json
from unimm_eval.world.scenes import Scene

Group = Literal["General", "Knowledge", "OCR & Chart", "Vision-centric"]

LETTERS = ("a", "b", "c", "d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A question before it is known whether training may ask it.

    `choices` are all answers that the words admit. `bound` are shapes and colours, beside those
    in the words, that cannot be exchanged for others without making the answer wrong. The answer
    to a `movable` question does not depend on where things stand.
    """

    picture: Picture
    question: str
    choices: tuple[str, ...]
    answer: str
    bound: tuple[str, ...] = ()
    movable: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A question about a picture, with the one right answer.

    Given the words alone, each of `choices` is the answer equally often. `pair` is shared by two
    questions of equal words about pictures that differ in one fine attribute.
    """

    family: str
    group: Group
    picture: Picture
    question: str
    choices: tuple[str, ...]
    answer: str
    held_out: bool
    pair: int | None = None

    @property
    def chance(self) -> float:
        """Accuracy of a guess from the words alone."""
        return 1 / len(self.choices)

    def to_json(self) -> dict[str, Any]:
        """All of the question; the picture as its description."""
        return {
            "family": self.family,
            "group": self.group,
            "picture": self.picture.to_json(),
            "question": self.question,
            "choices": list(self.choices),
            "answer": self.answer,
            "held_out": self.held_out,
            "pair": self.pair,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Question":
        """The question that `to_json` described."""
        return cls(
            **{
                **row,
                "picture": picture_from_json(row["picture"]),
                "choices": tuple(row["choices"]),
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneKind:
    """Questions about ordinary scenes.

    `ask` words a question about a scene, or None if the scene does not admit one. `scene` draws
    scenes about which the answers come equally often: shapes, colours and places are exchangeable
    in it, and where that is not enough (counts, facts) the first thing carries the answer.
    `shared` kinds need no scene of their own: any scene will do.
    """

    scene: Callable[[np.random.Generator], Scene]
    ask: Callable[[np.random.Generator, Scene], Draft | None]
    shared: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureKind:
    """Questions about special pictures: `draw(rng, split, wanted)` draws words and answer, then
    pictures for them until one is `wanted` (or too many were not).
    """

    draw: Callable[[np.random.Generator, Split, Callable[[Picture], bool]], Draft]


@dataclass(frozen=True, kw_only=True, slots=True)
class PairKind:
    """Questions in pairs: `draw` gives two drafts with equal words and different answers."""

    draw: Callable[[np.random.Generator], tuple[Draft, Draft]]


Kind = SceneKind | PictureKind | PairKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """The skill of one VQA benchmark, as questions about the world."""

    name: str
    group: Group
    skill: str
    kinds: tuple[Kind, ...]


def first_wanted(
    draw: Callable[[], Picture], wanted: Callable[[Picture], bool], *, tries: int = 40
) -> Picture:
    """The first drawn picture that is wanted, or the last drawn."""
    for _ in range(tries):
        picture = draw()
        if wanted(picture):
            break
    return picture


def lettered(
    rng: np.random.Generator,
    *,
    picture: Picture,
    stem: str,
    answer: str,
    likely: Sequence[str],
    others: Sequence[str],
    movable: bool = False,
) -> Draft:
    """A four-option question; wrong options come from `likely` first, then from `others`."""
    candidates = [name for name in likely if name != answer]
    wrong = pick_some(rng, candidates, len(candidates))[:3]
    rest = [name for name in others if name != answer and name not in wrong]
    options = [*wrong, *pick_some(rng, rest, 3 - len(wrong))]
    letter = pick(rng, LETTERS)
    options.insert(LETTERS.index(letter), answer)
    listed = " ".join(f"{name} {option}" for name, option in zip(LETTERS, options, strict=True))
    return Draft(
        picture=picture,
        question=f"{stem} {listed}",
        choices=LETTERS,
        answer=letter,
        movable=movable,
    )
