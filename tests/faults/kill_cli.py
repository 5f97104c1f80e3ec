"""Runs of `unimm-eval` that are killed: a process each, forked from this one, which has imported
and listed everything beforehand, so that the moments are those of the run and not of its imports.

Reads lines of JSON from stdin, [arguments, seconds or null]: runs the program with the arguments,
kills it after so many seconds, and answers with a line [exit status, seconds it ran].
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program


def run(arguments: list[str], seconds: float | None) -> tuple[int, float]:
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(run_program(app, arguments))
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)  # an ended child is there until it is waited for
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - began


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):
        import pyarrow.parquet  # noqa: F401
        import scipy.stats  # noqa: F401
        import torch  # noqa: F401

        import unimm_eval.report.gallery  # noqa: F401

        first = json.loads(sys.stdin.readline())
        run_program(app, [*first, "--dry-run"])
        for line in sys.stdin:
            answers.write(json.dumps(run(*json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
