"""A task's own code, told apart from the engine's: what it raises stops that task alone."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class TaskStopped(Exception):
    """A task's own code raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def task_code() -> Iterator[None]:
    """Around a task's own code."""
    try:
        yield
    except Exception as error:
        raise TaskStopped(error) from error


def guarded(values: Iterable[T]) -> Iterator[T]:
    """`values`, where the task's code that yields them is told apart from who takes them."""
    with task_code():
        iterator = iter(values)
    while True:
        with task_code():
            try:
                value = next(iterator)
            except StopIteration:
                return
        yield value
