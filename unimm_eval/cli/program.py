"""How a program ends: one message for a user's error, a log for a defect of ours, an exit code."""

import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from unimm_eval.report.plain import visible

EXIT_INTERRUPTED = 130


def run_program(app: typer.Typer, arguments: Sequence[str] | None = None) -> int:
    """Run `app` and return the exit code. No exception leaves, and no user sees a traceback."""
    _survive_odd_characters()
    command = typer.main.get_command(app)
    name = app.info.name or "unimm-eval"
    try:
        code = command.main(
            args=None if arguments is None else list(arguments),
            prog_name=name,
            standalone_mode=False,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        say(name, "Stopped. What is done is kept; the same command continues.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _close_pipe()
        return 0
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else name
        say(name, error.format_message(), fix=f"{path} --help lists what can be given.")
        return 2
    except Exception as error:  # noqa: BLE001 - the last line of defence: log it, name the log
        from unimm_eval.api import DefectError, UserError

        if isinstance(error, UserError):
            say(name, error.what, fix=error.fix)
            return error.exit_code
        if isinstance(error, DefectError):
            say(name, str(error))
            return error.exit_code
        return _defect(name, error)


def say(name: str, what: str, *, fix: str = "") -> None:
    """One message on stderr: what is wrong, and below it the step that mends it."""
    lines = [f"{name}: {visible(what)}"]
    if fix:
        lines += [f"  → {line}" for line in visible(fix).splitlines()]
    from unimm_eval.api import scrubbed

    with contextlib.suppress(OSError):
        sys.stderr.write(scrubbed("\n".join(lines)) + "\n")
        sys.stderr.flush()


def _defect(name: str, error: Exception) -> int:
    from unimm_eval.api import EXIT_DEFECT

    text = "".join(traceback.format_exception(error))
    log = _write_log(name, text)
    where = f"The log is {log}" if log else text
    say(
        name,
        f"This is a defect of {name}, not of what you asked for: {type(error).__name__}: {error}",
        fix=f"{where}\nWhat is done is kept; please report it with the log.",
    )
    return EXIT_DEFECT


def _write_log(name: str, text: str) -> Path | None:
    from unimm_eval import __version__
    from unimm_eval.api import scrubbed

    try:
        descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(scrubbed(f"{name} {__version__}, Python {sys.version}\n\n{text}"))
    except OSError:
        return None
    return Path(path)


def _survive_odd_characters() -> None:
    """A name that is not UTF-8, or a terminal that is not, must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _close_pipe() -> None:
    """Whoever read our output left; Python must not complain when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
