"""A library as graders are: it counts in a global, prints, patches, raises, hangs and dies."""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from unimm_eval.api import IncompleteError

NAME = "counting"
json.loads.__module__ = "patched"  # what a library does to others stays with it
sys.stdout.write("imported\n")
_seen = 0


class Session:
    def count(self) -> int:
        global _seen
        _seen += 1
        return _seen

    def echo(self, *, value: Any) -> Any:
        return value

    def arrays(self) -> Any:
        import numpy as np

        return {"f32": np.float32(0.1), "rows": np.arange(3), "pair": (1, float("inf"))}

    def rows(self, *, count: int) -> Iterator[dict[str, int]]:
        for row in range(count):
            yield {"row": row}

    def fail(self) -> None:
        sys.stdout.write("about to fail\n")
        raise KeyError("missing")

    def refuse(self) -> None:
        raise IncompleteError("the judge is down", fix="start it")

    def leave(self) -> None:
        sys.exit("enough")

    def not_json(self) -> object:
        return object()

    def die(self) -> None:
        ctypes.CDLL(None).puts(b"printed by C")
        ctypes.CDLL(None).fflush(None)
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self) -> None:
        time.sleep(1000)

    def pid(self) -> int:
        return os.getpid()

    def environment(self, *, name: str) -> str | None:
        return os.environ.get(name)
