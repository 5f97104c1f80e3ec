"""Two pens for one grammar: one writes a document, the other reads it back.

A grammar is a function that calls `words`, `choose` and `weigh` on a pen. Every choice shows itself
at once in the next words, so a text has one derivation, and the program that samples a document
is the program that scores it: -log p of the text is the sum over its choices, exactly.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import log
from typing import Protocol

import numpy as np

_TOKEN = re.compile(r"[a-z]+|[.,:]")
_ATTACHED = (".", ",", ":")


class NotInLanguage(ValueError):
    """The text has no derivation."""


class Pen(Protocol):
    """What a grammar is written with."""

    def words(self, text: str) -> None:
        """Put down fixed words."""

    def choose(self, options: Sequence[str]) -> str:
        """Put down one of `options` uniformly: words or phrases, none the beginning of another."""

    def weigh(self, weights: Mapping[str, float]) -> str:
        """Put down one of these words by its weight; weights add up to 1."""


class Writer:
    """Draws a document."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._random = rng.random
        self.tokens: list[str] = []
        self.nats = 0.0

    def words(self, text: str) -> None:
        """Put down fixed words, at no cost."""
        self.tokens.extend(text.split())

    def choose(self, options: Sequence[str]) -> str:
        """Draw one of `options` uniformly."""
        option = options[int(self._random() * len(options))]
        self.tokens.extend(option.split())
        self.nats += log(len(options))
        return option

    def weigh(self, weights: Mapping[str, float]) -> str:
        """Draw one of these words by its weight."""
        bounds = accumulate(weights.values())
        drawn = self._random()
        # Rounding may leave the last bound a little below 1.
        option = next((o for o, bound in zip(weights, bounds, strict=True) if drawn < bound), None)
        option = option or list(weights)[-1]
        self.tokens.append(option)
        self.nats -= log(weights[option])
        return option


class Reader:
    """Follows a document and adds up what its choices cost.

    Raises `NotInLanguage` at the first word that the grammar does not allow.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)
        self._at = 0
        self.nats = 0.0

    def _take(self, text: str) -> bool:
        """Go past `text` if it comes next."""
        expected = text.split()
        if self._tokens[self._at : self._at + len(expected)] != expected:
            return False
        self._at += len(expected)
        return True

    def _refuse(self, wanted: str) -> NotInLanguage:
        found = " ".join(self._tokens[self._at : self._at + 3]) or "the end"
        return NotInLanguage(f"word {self._at + 1}: {wanted} expected, {found!r} found")

    def words(self, text: str) -> None:
        """Go past fixed words, at no cost."""
        if not self._take(text):
            raise self._refuse(repr(text))

    def choose(self, options: Sequence[str]) -> str:
        """Find out which of `options` was drawn."""
        for option in options:
            if self._take(option):
                self.nats += log(len(options))
                return option
        raise self._refuse(f"one of {len(options)} options, such as {options[0]!r},")

    def weigh(self, weights: Mapping[str, float]) -> str:
        """Find out which of these words was drawn."""
        for option, weight in weights.items():
            if self._take(option):
                self.nats -= log(weight)
                return option
        raise self._refuse(f"one of {', '.join(weights)}")

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._tokens):
            raise self._refuse("the end")


def join(tokens: Sequence[str]) -> str:
    """The text of the tokens: blanks between words, none before punctuation."""
    return "".join(
        token if token in _ATTACHED or i == 0 else f" {token}" for i, token in enumerate(tokens)
    )


def split_text(text: str) -> list[str]:
    """The tokens of a text; raises `NotInLanguage` if joining them does not give it back."""
    tokens = _TOKEN.findall(text)
    if join(tokens) != text:
        raise NotInLanguage("characters, blanks or capitals that the language does not have")
    return tokens
