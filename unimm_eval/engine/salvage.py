"""A store with damaged pages: what can still be read moves to a new file, the old one stays aside.

SQLite finds a damaged page when its structure no longer makes sense. A page whose structure holds
can have changed content, so each row of outputs and scores carries a digest of its own. Rows that
cannot be read or do not fit theirs are left behind; the run computes them again.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from unimm_eval.engine.files import explained, sync_folder

DIGESTED = {
    "outputs": ("task", "sample", "repeat", "key", "values", "media", "error"),
    "scores": ("task", "sample", "repeat", "judge", "values", "payload", "unscored"),
}
"""Columns that the digest of a row is made of, by table."""
_MOST_ROWS = 2**40
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)


def digest(values: Sequence[Any]) -> bytes:
    """Of one row's values, text and numbers or None, in the order of its columns."""
    text = "\x1f".join("\x1e" if value is None else str(value) for value in values)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def spoilt(database: sqlite3.Connection) -> list[tuple[str, int]]:
    """(table, rowid) of rows that are not what was written. Raises sqlite3.DatabaseError where
    they cannot even be read."""
    found = []
    for table, columns in DIGESTED.items():
        names = ", ".join(f'"{name}"' for name in columns)
        for rowid, kept, *values in database.execute(
            f"SELECT rowid, digest, {names} FROM {table} WHERE digest IS NOT NULL"
        ):
            if digest(values) != kept:
                found.append((table, rowid))
    return found


def salvage(path: Path) -> tuple[Path, int]:
    """Rebuild the database at `path`, which nobody has open, from what can be read of it.

    Returns where the damaged one was moved to and how many rows were saved. Raises
    sqlite3.DatabaseError where not even its tables can be listed.
    """
    rebuilt = path.with_name(f".{path.name}.rebuilt")
    rebuilt.unlink(missing_ok=True)
    saved = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA locking_mode=EXCLUSIVE")
        tables = old.execute("SELECT name, sql FROM sqlite_master WHERE type='table'").fetchall()
        (version,) = old.execute("PRAGMA user_version").fetchone()
        with closing(sqlite3.connect(rebuilt, isolation_level=None)) as new:
            new.execute("BEGIN")
            for name, sql in tables:
                new.execute(sql)
                saved += _copy(old, new, name)
            _drop_halves(new, {name for name, _ in tables})
            new.execute(f"PRAGMA user_version={version}")
            new.execute("COMMIT")
    aside = _free_name(path)
    with explained(path.parent):
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        rebuilt.rename(path)
        sync_folder(path.parent)
    return aside, saved


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" for _ in columns)
    checked = [columns.index(name) for name in DIGESTED.get(table, ()) if "digest" in columns]
    saved = 0
    query = f"SELECT rowid, {names} FROM {table} WHERE rowid >= ? ORDER BY rowid"
    for _, *row in _readable(old, query):
        if checked and row[columns.index("digest")] not in (
            None,
            digest([row[index] for index in checked]),
        ):
            continue
        new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)
        saved += 1
    return saved


def _readable(old: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Rows, each behind its rowid, but for those on pages that cannot be read. `query` gives rows
    from a rowid on, in order."""
    start = 1
    while True:
        try:
            for row in old.execute(query, (start,)):
                yield row
                start = row[0] + 1
        except _UNREADABLE:
            found = _next_readable(old, query, start)
            if found is None:
                return
            start = found
        else:
            return


def _next_readable(old: sqlite3.Connection, query: str, start: int) -> int | None:
    """The first rowid behind the damage that begins at `start`; None where nothing is left."""

    def can_read(rowid: int) -> bool:
        try:
            old.execute(query, (rowid,)).fetchone()
        except _UNREADABLE:
            return False
        return True

    step = 1
    while not can_read(start + step):
        step *= 2
        if step > _MOST_ROWS:
            return None
    below, above = start + step // 2, start + step
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if can_read(middle) else (middle, above)
    return above


def _drop_halves(new: sqlite3.Connection, tables: set[str]) -> None:
    """Scores whose arrays may be lost, and outputs without all of theirs, are computed again."""
    if "arrays" in tables:
        new.execute("DELETE FROM scores WHERE task IN (SELECT DISTINCT task FROM arrays)")
        new.execute("DELETE FROM arrays")
    if "output_arrays" in tables:
        new.execute(
            "DELETE FROM outputs WHERE error IS NULL "
            "AND task IN (SELECT DISTINCT task FROM output_arrays) "
            "AND (SELECT COUNT(*) FROM output_arrays AS a WHERE a.task = outputs.task "
            "AND a.sample = outputs.sample AND a.repeat = outputs.repeat) < "
            "(SELECT COUNT(DISTINCT name) FROM output_arrays AS b WHERE b.task = outputs.task)"
        )


def _free_name(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside
