"""Arrays of outputs: `arrays/<task>/<name>.npy`, one row an output that has one.

They are features of many pictures, read again and again while probes are trained, and larger than
memory. A row is durable before its store row is committed and counts from then on: what a crash
leaves behind the last committed row is written over. Rows are appended in the order that outputs
come in, and the head of the file, which numpy leaves room in, is brought up to date with them, so
that anyone can open it with `numpy.load`.
"""

import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unimm_eval.api import ArrayRow, Output
from unimm_eval.engine.files import explained, sync_folder

FOLDER = "arrays"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS output_arrays (task TEXT, name TEXT, row INTEGER, sample TEXT, "
    "repeat INTEGER, PRIMARY KEY (task, name, row), UNIQUE (task, sample, repeat, name))"
)

Row = tuple[str, str, int, str, int]
"""(task, name, row of the file, sample, repeat)."""


class ArrayFiles:
    """The folder of arrays of one run; which rows count is told by the database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, task: str, name: str) -> Path:
        return self.folder / task.replace("/", "_") / f"{name}.npy"

    def add(self, database: sqlite3.Connection, task: str, outputs: Sequence[Output]) -> list[Row]:
        """Make arrays durable; the rows to commit with their outputs, by `commit`.

        Outputs that have theirs are left out. Raises ValueError when an array is of another type
        or shape than those before it.
        """
        rows: list[Row] = []
        for name in dict.fromkeys(name for output in outputs for name in output.arrays):
            fresh = [
                output
                for output in outputs
                if name in output.arrays and not _is_there(database, task, name, output)
            ]
            if not fresh:
                continue
            (first,) = database.execute(
                "SELECT COALESCE(MAX(row) + 1, 0) FROM output_arrays WHERE task=? AND name=?",
                (task, name),
            ).fetchone()
            path = self.path(task, name)
            with explained(path):
                _write(path, [output.arrays[name].load() for output in fresh], first=first)
            rows += [
                (task, name, first + index, output.sample_id, output.repeat)
                for index, output in enumerate(fresh)
            ]
        return rows

    def copy_to(self, folder: Path) -> None:
        """The files of a run whose outputs are all there, linked where the file system can."""
        for source in self.folder.glob("*/*.npy"):
            target = folder / source.parent.name / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                try:
                    os.link(source, target)
                except OSError:
                    shutil.copyfile(source, target)

    def read(
        self, database: sqlite3.Connection, task: str
    ) -> dict[tuple[str, int], Mapping[str, ArrayRow]]:
        """Arrays by (sample, repeat) of the outputs that have any."""
        if not database.execute(
            "SELECT 1 FROM sqlite_master WHERE name='output_arrays'"
        ).fetchone():
            return {}  # a store of before outputs had arrays
        found: dict[tuple[str, int], dict[str, ArrayRow]] = {}
        paths: dict[str, Path] = {}
        for name, row, sample, repeat in database.execute(
            "SELECT name, row, sample, repeat FROM output_arrays WHERE task=?", (task,)
        ):
            path = paths.setdefault(name, self.path(task, name))
            found.setdefault((sample, repeat), {})[name] = ArrayRow(path=path, row=row)
        return dict(found)


def _is_there(database: sqlite3.Connection, task: str, name: str, output: Output) -> bool:
    found = database.execute(
        "SELECT 1 FROM output_arrays WHERE task=? AND sample=? AND repeat=? AND name=?",
        (task, output.sample_id, output.repeat, name),
    )
    return found.fetchone() is not None


def commit(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Within a transaction of its caller."""
    database.executemany("INSERT INTO output_arrays VALUES (?, ?, ?, ?, ?)", rows)


def _write(path: Path, arrays: Sequence[np.ndarray], *, first: int) -> None:
    """Rows from row `first` on, durably."""
    stacked = np.stack(arrays)
    if stacked.dtype.hasobject:
        raise ValueError(f"an array {path.stem!r} holds objects, not numbers")
    if first:
        before = np.load(path, mmap_mode="r", allow_pickle=False)
        if (before.dtype, before.shape[1:]) != (stacked.dtype, stacked.shape[1:]):
            raise ValueError(
                f"an array {path.stem!r} is {stacked.dtype} {stacked.shape[1:]}, those before it "
                f"{before.dtype} {before.shape[1:]}"
            )
    new = not path.parent.is_dir()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written, not mapped: on a full disk writing fails, where a map would end the process.
    with path.open("r+b" if first else "wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": np.lib.format.dtype_to_descr(stacked.dtype),
                "fortran_order": False,
                "shape": (first + len(stacked), *stacked.shape[1:]),
            },
        )
        file.seek(first * stacked[0].nbytes, os.SEEK_CUR)
        file.write(np.ascontiguousarray(stacked).data)
        file.flush()
        os.fsync(file.fileno())
    if not first:
        for folder in (path.parent, *([path.parent.parent, path.parents[2]] if new else [])):
            sync_folder(folder)
