"""A judge: questions in, answers out, in the order in which they come."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from unimm_eval.api import Picture
from unimm_eval.judges.settings import JudgeSettings


@dataclass(frozen=True, kw_only=True)
class Question:
    """One thing asked of a judge, at temperature 0 unless the judge's options say otherwise.

    `key` comes back with the answer; it is hashable and belongs to this question alone. `system` is
    the instruction that the conversation begins with. `seed` is for servers that draw by one.
    """

    key: Any
    parts: tuple[str | Picture, ...]
    system: str = ""
    max_new_tokens: int = 64
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a question: `text`, or why there is none.

    With `outage` the question was no part of the trouble: asking later may bring an answer. `log`
    holds what was sent and what came back, JSON-able, with pictures by their SHA-256 and without
    keys.
    """

    key: Any
    text: str | None = None
    error: str = ""
    outage: bool = False
    log: Mapping[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """Who answers. Whatever an answer depends on besides the question is in `identity`."""

    @property
    def identity(self) -> str:
        """The exact model, as its server or its files name it."""

    @property
    def varies(self) -> bool:
        """Whether the same question can get another answer."""

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        """One answer a question, in any order; questions are taken as they are needed.

        Raises UserError when something must be changed before any question can be answered.
        """


class JudgeKind(Protocol):
    """What an entry point of the group `unimm_eval.judges` names: a class that makes judges."""

    summary: ClassVar[str]
    """One line for a list."""
    examples: ClassVar[tuple[str, ...]]
    """Specs that it accepts."""

    @classmethod
    def matches(cls, spec: str) -> bool:
        """Whether `spec` is its to open."""

    @classmethod
    def open(cls, spec: str, settings: JudgeSettings) -> Judge:
        """The judge, known to answer. Raises UserError, or IncompleteError when it does not."""
