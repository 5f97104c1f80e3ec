"""Several problems, one message: what must be changed is told all at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from unimm_eval.api import IncompleteError, UserError


class Problems:
    """Collects UserErrors instead of stopping at the first."""

    def __init__(self) -> None:
        self.found: list[UserError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """A UserError raised inside is noted; the block ends there."""
        try:
            yield
        except UserError as error:
            self.found.append(error)

    def add(self, what: str, *, fix: str = "") -> None:
        self.found.append(UserError(what, fix=fix))

    def raise_any(self) -> None:
        """Raise one UserError with everything that was noted, if anything was."""
        if self.found:
            raise joined(self.found)


def joined(errors: Sequence[UserError]) -> UserError:
    """One error that says everything; incomplete when that is all that is wrong."""
    if len(errors) == 1:
        return errors[0]
    kind = IncompleteError if all(isinstance(e, IncompleteError) for e in errors) else UserError
    return kind(f"{len(errors)} problems:\n" + "\n".join(_item(error) for error in errors))


def _item(error: UserError) -> str:
    """What is wrong, and below it, indented, the step that mends it."""
    lines = [*error.what.splitlines(), *(f"→ {line}" for line in error.fix.splitlines())]
    return "- " + "\n  ".join(lines)
