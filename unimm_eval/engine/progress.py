"""What the engine tells whoever watches a run."""

from collections.abc import Sequence
from typing import Literal, Protocol

from unimm_eval.api import Result

Phase = Literal["produce", "judge", "summarize"]


class Progress(Protocol):
    """A task goes through its phases in order. On a cluster the next task may have begun before one
    is judged, and calls come from two threads, never at the same time about one task."""

    def note(self, message: str) -> None:
        """Something a person wants to know (the model is being loaded, a batch was halved)."""

    def task_started(self, task: str) -> None: ...

    def phase(self, task: str, phase: Phase, *, total: int, done: int) -> None:
        """`total` outputs go through this phase; `done` of them are in the store already."""

    def advance(self, task: str, count: int) -> None:
        """`count` more outputs went through the current phase and are in the store."""

    def task_finished(self, task: str, results: Sequence[Result]) -> None:
        """Final numbers of a task; empty when it failed, which is raised once the others ran."""


class Silent:
    """Nobody watches."""

    def note(self, message: str) -> None: ...

    def task_started(self, task: str) -> None: ...

    def phase(self, task: str, phase: Phase, *, total: int, done: int) -> None: ...

    def advance(self, task: str, count: int) -> None: ...

    def task_finished(self, task: str, results: Sequence[Result]) -> None: ...
