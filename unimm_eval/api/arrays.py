"""An array of an output that is passed by reference and loaded when it is looked at.

Features of pictures are more than memory holds: they lie in .npy files with one row an output, of
which only the rows and the parts of rows that are asked for are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class ArrayRow:
    """An array in memory (`array`), or row `row` of the .npy file `path`."""

    array: "np.ndarray | None" = None
    path: Path | None = None
    row: int = 0

    def load(self) -> "np.ndarray":
        """A copy of its own. Raises UserError."""
        loaded: np.ndarray = load_rows([self])[0]
        return loaded


def load_rows(
    rows: Sequence[ArrayRow], *, part: int | slice | tuple[int | slice, ...] = ()
) -> "np.ndarray":
    """Arrays of one name, stacked: [row, ...], or `part` of each, as `array[part]` has it.

    A file is mapped into memory and let go again, so that of what was read only the copy stays.
    Raises UserError naming a file that is not there or lacks a row.
    """
    import numpy as np

    index = part if isinstance(part, tuple) else (part,)
    if not rows or rows[0].path is None:
        return np.stack([row.array[index] for row in rows if row.array is not None])
    files: dict[Path, list[int]] = {}
    for place, row in enumerate(rows):
        assert row.path is not None, "rows of one name are all in memory or all in files"
        files.setdefault(row.path, []).append(place)
    loaded: np.ndarray | None = None
    for path, places in files.items():
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            found = np.asarray(mapped[([rows[place].row for place in places], *index)])
        except (OSError, ValueError, IndexError) as error:
            raise UserError(
                f"{path} is damaged or not there: {error}.",
                fix="Remove the folder of the run; then the same command makes it again.",
            ) from error
        if loaded is None:
            loaded = np.empty((len(rows), *found.shape[1:]), found.dtype)
        loaded[places] = found
    assert loaded is not None
    return loaded
