"""A run of lm-eval's tasks that kills itself: `kill_lm.py FOLDER ROWS LINE` ends by SIGKILL at the
LINE-th line that our side of it executes (0: never) and otherwise prints how many lines it
executed."""

import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT)]

from unimm_eval import evaluate  # noqa: E402
from unimm_eval.api import TextScore  # noqa: E402

WATCHED = tuple(str(ROOT / room) for room in ("unimm_eval/engine", "tasks/lm", "tasks/child"))
TASKS = ("tiny_choice", "tiny_votes")


class WithoutPandas:
    """pyarrow imports pandas when it is there, which would be much of the time of a run."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


class Hashing:
    """Answers that depend on the request, and on its seed where they are drawn."""

    name = fingerprint = "hashing"

    def describe(self) -> dict[str, Any]:
        return {}

    def score_continuations(self, requests: Any) -> list[TextScore]:
        return [
            TextScore(nats=sum((r.context + r.continuation).encode()) % 97 / 7, tokens=1, bytes=1)
            for r in requests
        ]

    def score_documents(self, requests: Any) -> list[TextScore]:
        raise AssertionError

    def generate_text(self, requests: Any) -> list[str]:
        return [f"{'abc'[r.seed % 3]} {r.seed}" for r in requests]


@cache
def watched(file: str) -> bool:
    return os.path.realpath(file).startswith(WATCHED)


class Executioner:
    """Counts lines of ours and kills the process at one of them."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.seen = 0

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.on_line if watched(frame.f_code.co_filename) else None

    def on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self.line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.on_line


def main() -> None:
    folder, rows, line = sys.argv[1:]
    executioner = Executioner(int(line))
    sys.meta_path.insert(0, WithoutPandas())  # type: ignore[arg-type]
    sys.settrace(executioner.on_call)
    evaluate(
        Hashing(),
        [f"lm:{task}" for task in TASKS],
        batch_size=3,
        settings={f"lm:{task}": {"include_path": rows} for task in TASKS},
        output=folder,
    )
    sys.settrace(None)
    sys.stdout.write(str(executioner.seen))


if __name__ == "__main__":
    main()
