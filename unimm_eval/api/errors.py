"""Errors that a user meets, and the exit codes they end in (DESIGN: 0 fine, 1 worse, 2 change
something, 3 incomplete, 4 a defect of ours)."""

from pydantic import ValidationError

EXIT_OK = 0
EXIT_WORSE = 1
EXIT_USER = 2
EXIT_INCOMPLETE = 3
EXIT_DEFECT = 4


class UserError(Exception):
    """The user must change something: what is wrong, and the step that mends it.

    Shown as one message without a traceback; the program ends with `exit_code`.
    """

    exit_code = EXIT_USER

    def __init__(self, what: str, *, fix: str = "") -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}\n{fix}" if fix else what)


class IncompleteError(UserError):
    """The run could not be finished (disk full, judge down); the same command continues it."""

    exit_code = EXIT_INCOMPLETE


class DefectError(Exception):
    """A defect of ours, or of a plug-in: the message names the log that holds the traceback."""

    exit_code = EXIT_DEFECT


class SampleError(UserError):
    """One sample that cannot be answered, for reasons of its own. It costs its own output, which
    carries the message and is unscored; the run goes on."""


class PictureError(SampleError):
    """A picture that is missing, not a picture, or too large; the message names it."""


def explain(error: ValidationError) -> str:
    """What pydantic found, in one line."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors()
    )
