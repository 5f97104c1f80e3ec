"""An array of an output that is passed by reference and loaded when it is looked at.

Features of pictures are more than memory holds: they lie in .npy files with one row an output, of
which only the rows and the parts of rows that are asked for are read. They are read, not mapped:
pages that a map has touched count as memory of the process, and a kernel may map two megabytes
around each.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api.errors import UserError

if TYPE_CHECKING:
    import numpy as np

_ALL = slice(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayRow:
    """An array in memory (`array`), or row `row` of the .npy file `path`."""

    array: "np.ndarray | None" = None
    path: Path | None = None
    row: int = 0

    def load(self) -> "np.ndarray":
        """A copy of its own. Raises UserError."""
        loaded: np.ndarray = load_rows([self])[0]
        return loaded


def load_rows(rows: Sequence[ArrayRow], *, part: slice = _ALL) -> "np.ndarray":
    """Arrays of one name, stacked: [row, ...], or `array[part]` of each, for a part without gaps.

    Raises UserError naming a file that is not there or lacks a row.
    """
    import numpy as np

    if not rows or rows[0].path is None:
        return np.stack([row.array[part] for row in rows if row.array is not None])
    files: dict[Path, list[int]] = {}
    for place, row in enumerate(rows):
        assert row.path is not None, "rows of one name are all in memory or all in files"
        files.setdefault(row.path, []).append(place)
    loaded: np.ndarray | None = None
    for path, places in files.items():
        try:
            found = _read(path, [rows[place].row for place in places], part)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or not there: {error}.",
                fix="Remove the folder of the run; then the same command makes it again.",
            ) from error
        if len(files) == 1:
            return found
        if loaded is None:
            loaded = np.empty((len(rows), *found.shape[1:]), found.dtype)
        loaded[places] = found
    assert loaded is not None
    return loaded


def _read(path: Path, rows: Sequence[int], part: slice) -> "np.ndarray":
    """Raises OSError and ValueError."""
    import numpy as np

    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not a file of rows")
        (count, *shape), fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start, row_bytes = file.tell(), dtype.itemsize * math.prod(shape)
        if fortran or dtype.hasobject or max(rows) >= count:
            raise ValueError(f"it has {count} rows")
        if part != _ALL:
            first, last, step = part.indices(shape[0])
            assert step == 1, "a part has no gaps"
            start += first * (row_bytes // shape[0])
            shape[0] = max(0, last - first)
        found = np.empty((len(rows), *shape), dtype)
        bytes_of = found.reshape(len(rows), math.prod(shape)).view(np.uint8)
        for target, row in zip(bytes_of, rows, strict=True):
            if os.preadv(file.fileno(), [target.data], start + row * row_bytes) != len(target):
                raise ValueError(f"row {row} is not whole")
    return found
