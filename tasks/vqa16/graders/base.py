"""What all graders share: the contract, and how an answer is cut out of a sentence."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Gold = Mapping[str, Any]
"""What is right: `answer`, or `answers`, or `letter` (lower case) with `options` in order."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """`value` from 0 to 1, and what was read out of the answer.

    `stray` says that a letter or number was called for and none that is possible was found.
    `unread` says that only a judge could tell what the answer states; `value` means nothing then.
    """

    value: float
    said: str
    stray: bool = False
    unread: bool = False


Grader = Callable[[str, Gold, bool], Grade]

_PHRASES = ("answer is", "answer is:", "answer:")


def after_phrase(answer: str) -> str:
    """What follows the last "answer is" or "answer:", in lower case, as Cambrian cuts it.

    The phrases are tried one after the other, so that of "answer is: b" the colon stays.
    """
    text = answer.lower().strip()
    for phrase in _PHRASES:
        if phrase in text:
            text = text.split(phrase)[-1]
    return text.strip()


def stated(answer: str) -> str:
    """The same without what surrounds the answer itself: colons, emphasis, quotes, full stops."""
    return after_phrase(answer).lstrip(":").strip(" \t\r\n*_`\"'").rstrip(".").rstrip(" *_`\"'")


def number_of(text: str) -> float | None:
    """The number that a text is, as Python reads it, or None."""
    try:
        return float(text)
    except ValueError:
        return None
