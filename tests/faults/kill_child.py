"""A run that kills itself: `kill_child.py FOLDER LINE` ends by SIGKILL at the LINE-th line that the
engine executes (0: never) and otherwise prints how many lines it executed."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "engine")]

from engine_fakes import Draw, DrawSet, FakeModel, Say  # noqa: E402

from unimm_eval import evaluate  # noqa: E402


class WithoutPandas:
    """pyarrow imports pandas when it is there, which would be half of the time of a child."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


ENGINE = str(ROOT / "unimm_eval" / "engine")


class Executioner:
    """Counts lines of the engine and kills the process at one of them."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.seen = 0

    def on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.on_line if frame.f_code.co_filename.startswith(ENGINE) else None

    def on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self.line:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.on_line


def main() -> None:
    folder, line = sys.argv[1:]
    executioner = Executioner(int(line))
    sys.meta_path.insert(0, WithoutPandas())  # type: ignore[arg-type]
    sys.settrace(executioner.on_call)
    tasks = [Say("say"), Draw("draw"), DrawSet("set")]
    evaluate(FakeModel(), tasks, batch_size=3, output=folder)
    sys.settrace(None)
    sys.stdout.write(str(executioner.seen))


if __name__ == "__main__":
    main()
