"""A task of lm-eval, opened in a process of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.tasks.child import LibraryError, Session, library

_YOURS = "unimm_eval.tasks.lm.server"
_ALL = "unimm_eval.tasks.lm.indexed"


@contextmanager
def opened(task: str, settings: Mapping[str, Any]) -> Iterator[tuple[Session, dict[str, Any]]]:
    """The process in which `task` is open, and what the task is.

    A task of an `include_path` is found without the index of all others. Raises UserError when
    lm-eval does not know the task or cannot make it.
    """
    modules = [_YOURS, _ALL] if settings["include_path"] else [_ALL]
    for module in modules:
        with _made(task, module) as child:
            try:
                facts = child.call("open", task=task, **settings)
            except LibraryError as error:
                raise _refused(task, error) from error
            if facts["found"]:
                yield child, facts
                return
    raise AssertionError("whoever knows all tasks finds one or refuses it")


@contextmanager
def _made(task: str, module: str) -> Iterator[Session]:
    try:
        session = library(module).session()
    except LibraryError as error:
        raise _refused(task, error) from error
    with session:
        yield session


def _refused(task: str, error: LibraryError) -> UserError:
    return UserError(
        f"lm-eval cannot make the task {task}: {error}",
        fix="Its data set must be in the cache of `datasets`, or the hub within reach.",
    )
