"""Answers as they come, one JSON line each, on disk before the next is taken.

Lines are only ever added, each with an fsync, so a kill or a power cut loses at most the answer
that was being written; its torn line is cut off when the file is opened again. The order is that of
arrival; results are written from it in the order of their rows.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.train.tools.folder import append, explained, sync_folder

FILE = "answers.jsonl"


class Journal:
    """The answers in `folder`, by key. Use as a context manager. Raises UserError when damaged.

    Only where an answer stands is kept in memory.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._offsets: dict[str, int] = {}
        with explained(self._path):
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._end = self._read_offsets()
            os.ftruncate(self._file, self._end)
            sync_folder(folder)

    def _read_offsets(self) -> int:
        """Where the last whole line ends."""
        end, torn = 0, False
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                key = _key(line)
                if key is not None and torn:
                    os.close(self._file)
                    raise UserError(
                        f"{self._path} is damaged before line {number}.",
                        fix="Take the bad lines out; then the same command asks for them again.",
                    )
                if key is None:
                    torn = True
                else:
                    self._offsets[key] = end
                    end += len(line)
        return end

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, key: str) -> dict[str, Any]:
        with open(self._file, "rb", closefd=False) as file:
            file.seek(self._offsets[key])
            found: dict[str, Any] = json.loads(file.readline())
        return found

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer. Raises UserError or IncompleteError when it cannot be written."""
        line = json.dumps({"key": key, **answer}).encode() + b"\n"
        append(self._file, line, at=self._end, path=self._path)
        self._offsets[key] = self._end
        self._end += len(line)


def _key(line: bytes) -> str | None:
    """The key of a whole line; None for a torn one."""
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    key = entry.get("key") if isinstance(entry, dict) else None
    return key if isinstance(key, str) else None
