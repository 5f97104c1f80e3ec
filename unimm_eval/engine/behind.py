"""Work that is done behind what goes on, in the order in which it was handed in."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Behind:
    """One thread. With `wait` there is none, and what is handed in is done at once.

    Leaving the context waits for everything, or, after an error, for what is being done."""

    def __init__(self, *, wait: bool) -> None:
        self._pool = None if wait else ThreadPoolExecutor(1, thread_name_prefix="judge")

    def __enter__(self) -> "Behind":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=error is not None)

    def submit(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
        if self._pool is not None:
            return self._pool.submit(work, *arguments, **named)
        future: Future[T] = Future()
        future.set_result(work(*arguments, **named))
        return future
