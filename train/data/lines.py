"""Lines of large JSONL files, found by number: where each begins is written down once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.train.data.bad import BadRecord

_BLOCK = 1 << 24
_NEWLINE = 10


def index_lines(files: Sequence[Path], folder: Path) -> None:
    """Write `lines-00000.npy` …, for each file int64 [lines + 1]: where each line begins, and the
    end. Raises UserError for a file that cannot be read, or a compressed one."""
    for number, path in enumerate(files):
        if path.suffix in (".gz", ".zst", ".bz2", ".xz"):
            raise UserError(
                f"{path}: lines of a compressed file cannot be found by their place",
                fix="Unpack it.",
            )
        begins, at = [np.zeros(1, dtype=np.int64)], 0
        try:
            with open(path, "rb") as file:
                while block := file.read(_BLOCK):
                    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == _NEWLINE)
                    begins.append(ends.astype(np.int64) + at + 1)
                    at += len(block)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        offsets = np.concatenate(begins)
        if offsets[-1] != at:  # the last line has no newline
            offsets = np.append(offsets, at)
        np.save(folder / f"lines-{number:05d}.npy", offsets)


class Lines:
    """All lines of some files, by number."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.files = list(files)
        self._offsets = [
            np.load(folder / f"lines-{number:05d}.npy", mmap_mode="r")
            for number in range(len(self.files))
        ]
        self._first = np.cumsum([0, *(len(offsets) - 1 for offsets in self._offsets)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def place(self, number: int) -> str:
        file, line = self._find(number)
        return f"{self.files[file].name}:{line + 1}"

    def file(self, number: int) -> Path:
        return self.files[self._find(number)[0]]

    def object(self, number: int) -> dict[str, Any] | None:
        """The JSON object of a line, None for an empty line. Raises BadRecord."""
        file, line = self._find(number)
        begin, end = (int(offset) for offset in self._offsets[file][line : line + 2])
        try:
            with open(self.files[file], "rb") as stream:
                stream.seek(begin)
                data = stream.read(end - begin)
        except OSError as error:
            raise BadRecord(f"cannot be read ({error.strerror})") from error
        return json_object(data)

    def _find(self, number: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._first, number, side="right")) - 1
        return file, number - int(self._first[file])


def json_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object that a line holds, None for an empty line. Raises BadRecord."""
    try:
        text = data.decode("utf-8-sig").strip()
        value = json.loads(text) if text else None
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8 (byte {error.start:,})") from error
    except json.JSONDecodeError as error:
        raise BadRecord(f"not JSON ({error.msg})") from error
    except RecursionError as error:
        raise BadRecord("not JSON that can be read (nested too deeply)") from error
    if text and not isinstance(value, dict):
        raise BadRecord("not a JSON object")
    return value


def text_of(fields: dict[str, Any], key: str) -> str:
    """The text of a record. Raises BadRecord when there is none, or it is no Unicode."""
    value = fields.get(key)
    if not isinstance(value, str):
        raise BadRecord(f"its {key} is no text" if key in fields else f"has no {key}")
    value = value.strip()
    if not value:
        raise BadRecord(f"its {key} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRecord(f"its {key} holds half a character (a lone surrogate)") from error
    return value
