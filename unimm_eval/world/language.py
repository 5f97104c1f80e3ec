"""A small language whose entropy is known exactly.

Documents are of three kinds, told by their first word:

- stories ("once"): two or three people, each with a number of things of a colour at a place;
  people walk, find and lose things; at the end it is told again how all stand. Numbers, places,
  colours, shapes and moods of that ending follow from the story, from far before it.
- lists ("today"): one person buys goods; another buys the same, or meets who makes them.
- facts ("remember"): what `facts.FACTS` knows, told in either direction.

What follows from far back is what an n-gram model cannot know: its perplexity stays well above
the true one, which a small network comes close to by copying, counting and looking up.
"""

from dataclasses import dataclass

import numpy as np

from unimm_eval.world.captions import plural
from unimm_eval.world.draw import Split
from unimm_eval.world.facts import FACTS
from unimm_eval.world.pens import Pen, Reader, Writer, join, split_text
from unimm_eval.world.scenes import COLOR_NAMES, SHAPES

SHE = (
    "anna", "bella", "clara", "dora", "emma", "flora", "greta", "helen", "iris", "julia", "karla",
    "laura", "maria", "nora", "olga", "paula", "rosa", "sofia", "tina", "vera",
)  # fmt: skip
HE = (
    "adam", "boris", "carl", "david", "emil", "felix", "gustav", "henry", "ivan", "jacob", "karl",
    "leo", "martin", "noah", "oscar", "paul", "robert", "simon", "tom", "victor",
)  # fmt: skip
PLACES = (
    "garden", "mill", "well", "barn", "market", "harbor", "forest", "bridge", "castle", "school",
    "station", "meadow", "library", "bakery", "island", "tower", "theater", "museum", "stable",
    "farm", "hotel", "temple", "beach", "lake", "river", "hill", "cave", "gate", "fountain",
    "kitchen", "attic", "cellar",
)  # fmt: skip
MOODS = (
    "happy", "tired", "hungry", "calm", "proud", "sleepy", "brave", "shy", "angry", "sad",
    "curious", "lucky", "busy", "cold", "warm", "nervous",
)  # fmt: skip
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")
MAKERS = {
    "bread": "baker", "salt": "miner", "honey": "beekeeper", "rope": "sailor",
    "soap": "chemist", "milk": "farmer", "paper": "printer", "tea": "gardener",
    "wool": "shepherd", "corn": "miller", "ink": "writer", "wax": "monk",
    "oil": "presser", "silk": "tailor", "clay": "potter", "fish": "fisher",
    "boots": "cobbler", "nails": "smith", "chairs": "carpenter", "hats": "hatter",
    "glass": "blower", "meat": "butcher", "cheese": "dairyman", "wine": "vintner",
    "bricks": "mason", "gold": "jeweler", "tents": "nomad", "drums": "drummer",
    "pills": "doctor", "maps": "pilot", "songs": "singer", "stew": "cook",
}  # fmt: skip
"""Goods, and who makes them."""

_NAMES = SHE + HE
_GOODS = tuple(MAKERS)
_SHAPES = tuple(plural(shape) for shape in SHAPES)
_FACT_SENTENCES = tuple(
    sentence
    for fact in FACTS
    for named in (f"the {fact.answer}" if fact.kind == "shape" else fact.answer,)
    for sentence in (f"{fact.phrase} is {named} .", f"{named} is {fact.phrase} .")
)

_FIRST_WORDS = {"once": 0.5, "today": 0.35, "remember": 0.15}
_THIRD_PERSON = {"also": 0.25, "then": 0.75}
_MORE_EVENTS = {"then": 0.5, "finally": 0.5}
_EVENTS = {"walks": 0.3, "finds": 0.35, "loses": 0.35}
_SECOND_LIST = {"buys": 0.7, "meets": 0.3}
_MOST_EVENTS = 3
_LIST_LENGTH = 7
_LISTS = 2
_FACTS_TOLD = 6
_START_NUMBERS = NUMBERS[_MOST_EVENTS - 1 : -_MOST_EVENTS]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A text and its exact -log p under the language, in nats."""

    text: str
    nats: float


@dataclass(kw_only=True, slots=True)
class _Person:
    """How a person of a story stands by now."""

    name: str
    number: int
    color: str
    shapes: str
    place: str
    mood: str

    @property
    def pronoun(self) -> str:
        return _pronoun(self.name)


def _pronoun(name: str) -> str:
    return "she" if name in SHE else "he"


def _without(options: tuple[str, ...], taken: list[str]) -> list[str]:
    return [option for option in options if option not in taken]


def _introduce(pen: Pen, people: list[_Person]) -> None:
    """A new person: "anna has four red moons at the mill . she is happy ." """
    name = pen.choose(_without(_NAMES, [person.name for person in people]))
    pen.words("has")
    number = NUMBERS.index(pen.choose(_START_NUMBERS))
    color = pen.choose(COLOR_NAMES)
    shapes = pen.choose(_SHAPES)
    pen.words("at the")
    place = pen.choose(PLACES)
    pen.words(f". {_pronoun(name)} is")
    mood = pen.choose(MOODS)
    pen.words(".")
    person = _Person(name=name, number=number, color=color, shapes=shapes, place=place, mood=mood)
    people.append(person)


def _happen(pen: Pen, people: list[_Person]) -> None:
    """Something happens to somebody: "anna finds one . now she has five red moons ." """
    name = pen.choose([person.name for person in people])
    person = next(person for person in people if person.name == name)
    event = pen.weigh(_EVENTS)
    if event == "walks":
        pen.words("to the")
        person.place = pen.choose(_without(PLACES, [person.place]))
        pen.words(".")
    else:
        person.number += 1 if event == "finds" else -1
        owned = f"{NUMBERS[person.number]} {person.color} {person.shapes}"
        pen.words(f"one . now {person.pronoun} has {owned} .")


def _story(pen: Pen) -> None:
    people: list[_Person] = []
    _introduce(pen, people)
    _introduce(pen, people)
    if pen.weigh(_THIRD_PERSON) == "also":
        _introduce(pen, people)
        pen.words("then")
    _happen(pen, people)
    for _ in range(_MOST_EVENTS - 1):
        if pen.weigh(_MORE_EVENTS) == "finally":
            break
        _happen(pen, people)
    else:
        pen.words("finally")
    for person in people:
        owned = f"{NUMBERS[person.number]} {person.color} {person.shapes}"
        pen.words(f"{person.name} has {owned} at the {person.place} .")
        pen.words(f"{person.pronoun} is {person.mood} .")


def _lists(pen: Pen) -> None:
    names: list[str] = []
    for _ in range(_LISTS):
        goods: list[str] = []
        names.append(pen.choose(_without(_NAMES, names)))
        pen.words("buys")
        for _ in range(_LIST_LENGTH):
            goods.append(pen.choose(_without(_GOODS, goods)))
        pen.words(".")
        names.append(pen.choose(_without(_NAMES, names)))
        if pen.weigh(_SECOND_LIST) == "buys":
            pen.words(f"the same {' '.join(goods)} .")
        else:
            pen.words(f"the {' '.join(MAKERS[good] for good in goods)} .")


def _facts(pen: Pen) -> None:
    told: list[str] = []
    for _ in range(_FACTS_TOLD):
        told.append(pen.choose(_without(_FACT_SENTENCES, told)))


def _document(pen: Pen) -> None:
    kind = pen.weigh(_FIRST_WORDS)
    {"once": _story, "today": _lists, "remember": _facts}[kind](pen)


def sample_document(rng: np.random.Generator, *, split: Split) -> Document:
    """A document. All splits are the same language; draw each from its own `rng_for(split=...)`."""
    pen = Writer(rng)
    _document(pen)
    return Document(text=join(pen.tokens), nats=pen.nats)


def score(text: str) -> float:
    """Exact -log p of `text` in nats; raises `pens.NotInLanguage` if the language lacks it."""
    pen = Reader(split_text(text))
    _document(pen)
    pen.finish()
    return pen.nats
