"""Arrays of scores (features of pictures): rows of the store beside the scores they belong to.

They are committed in the transaction of their score, so that one is never there without the other,
and each is a few kilobytes, where SQLite is as fast as files. They are read when they are looked
at: thousands of scores with features can be held at once.
"""

import io
import sqlite3
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from unimm_eval.api import Score

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS arrays (task TEXT, judge TEXT, sample TEXT, repeat INTEGER, "
    "name TEXT, data BLOB, PRIMARY KEY (task, judge, sample, repeat, name))"
)


def write(database: sqlite3.Connection, task: str, judge: str, scores: Iterable[Score]) -> None:
    """Within a transaction of its caller. An array that is there stays, as its score does."""
    database.executemany(
        "INSERT OR IGNORE INTO arrays VALUES (?, ?, ?, ?, ?, ?)",
        (
            (task, judge, score.sample_id, score.repeat, name, _pack(array))
            for score in scores
            for name, array in score.arrays.items()
        ),
    )


def clear(database: sqlite3.Connection, task: str, judge: str) -> None:
    """Within a transaction of its caller: as if no score had any."""
    database.execute("DELETE FROM arrays WHERE task=? AND judge=?", (task, judge))


def read(
    database: sqlite3.Connection, task: str, judge: str
) -> dict[tuple[str, int], Mapping[str, np.ndarray]]:
    """Arrays by (sample, repeat) of the scores that have any; usable while the store is open."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name='arrays'").fetchone():
        return {}  # a store of before there were arrays
    rows = database.execute(
        "SELECT sample, repeat, name FROM arrays WHERE task=? AND judge=?", (task, judge)
    )
    names: dict[tuple[str, int], list[str]] = {}
    for sample, repeat, name in rows:
        names.setdefault((sample, repeat), []).append(name)
    return {
        key: StoredArrays(database, (task, judge, *key), tuple(found))
        for key, found in names.items()
    }


class StoredArrays(Mapping[str, np.ndarray]):
    """The arrays of one score by name."""

    def __init__(
        self,
        database: sqlite3.Connection,
        key: tuple[str, str, str, int],
        names: tuple[str, ...],
    ) -> None:
        self._database = database
        self._key = key
        self._names = names

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        (data,) = self._database.execute(
            "SELECT data FROM arrays WHERE task=? AND judge=? AND sample=? AND repeat=? AND name=?",
            (*self._key, name),
        ).fetchone()
        array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _pack(array: np.ndarray) -> bytes:
    """As a .npy file: it knows its own type and shape."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
