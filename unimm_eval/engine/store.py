"""The store of a run: what was asked, answered and scored. It is the truth that a run continues
from.

One SQLite file, one process: the lock is taken when it is opened, before the switch to
write-ahead logging, so no shared memory is needed and network file systems work; a second process
is refused at once. `synchronous=FULL` makes every commit survive a power cut. Rows are only ever
added: an output that is there stays, and so does a score, unless it is *unscored*, which judging
again replaces.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from unimm_eval.api import Output, Sample, Score, UserError, encode_png, scrubbed
from unimm_eval.engine import array_files, arrays, salvage
from unimm_eval.engine.files import (
    explained,
    link_or_copy,
    no_room,
    not_writable,
    sync_folder,
)
from unimm_eval.engine.media import MediaStore

FILE = "store.sqlite"
SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE samples (task TEXT, position INTEGER, sample TEXT, inputs TEXT, cluster TEXT, "
    "repeats INTEGER, PRIMARY KEY (task, sample))",
    'CREATE TABLE outputs (task TEXT, sample TEXT, repeat INTEGER, key TEXT, "values" TEXT, '
    "media TEXT, error TEXT, digest BLOB, PRIMARY KEY (task, sample, repeat))",
    'CREATE TABLE scores (task TEXT, sample TEXT, repeat INTEGER, judge TEXT, "values" TEXT, '
    "payload TEXT, unscored TEXT, digest BLOB, PRIMARY KEY (task, sample, repeat, judge))",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)

ItemKey = tuple[str, int]
"""(sample id, repeat)."""


class Store:
    """Outputs and scores of one run folder. Use as a context manager, or close it."""

    def __init__(self, folder: Path, *, readonly: bool = False, mend: bool = True) -> None:
        """Open the store of `folder`, making it unless `readonly`.

        With `mend`, a store with damaged pages is rebuilt from what can be read of it, and outputs
        without their pictures are dropped; `mended` then says what was done. Raises UserError
        when another process uses it, when nothing of it can be read, and when it cannot be written.
        """
        self.mended: list[str] = []
        self.path = folder / FILE
        self.media = MediaStore(folder / "media")
        self.arrays = array_files.ArrayFiles(folder / array_files.FOLDER)
        log = folder / f"{FILE}-wal"
        self._alone = threading.RLock()  # outputs and scores may come from two threads
        stopped_midway = log.exists()  # SQLite removes it when it closes a file in order
        with self._explained():
            self._open(readonly=readonly and not stopped_midway)
        try:
            with self._explained():
                if not (readonly and not stopped_midway):
                    self._lock()
                    if mend and (reason := self._damage()):
                        self._salvage(reason)
                self._prepare(readonly=readonly)
                if mend and not readonly:
                    self._drop_without_media()
        except BaseException:
            self._db.close()
            raise
        if not readonly:
            with explained(folder):
                sync_folder(folder)

    def _lock(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("COMMIT")  # EXCLUSIVE: the lock stays

    def _open(self, *, readonly: bool) -> None:
        name = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1" if readonly else self.path
        self._db = sqlite3.connect(
            name, uri=readonly, timeout=0, isolation_level=None, check_same_thread=False
        )

    def _damage(self) -> str:
        """What is wrong with the pages or with rows, empty where nothing is."""
        verdict: str = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            return verdict
        if self._db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
            return ""  # new, or another version's
        self._add_digests()
        spoilt = salvage.spoilt(self._db)
        return f"{len(spoilt)} rows are not what was written" if spoilt else ""

    def _add_digests(self) -> None:
        """To a store of before rows had them."""
        for table in salvage.DIGESTED:
            columns = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
            if "digest" not in columns:
                self._db.execute(f"ALTER TABLE {table} ADD COLUMN digest BLOB")

    def _salvage(self, reason: str) -> None:
        """Rebuild the file, and tell."""
        self._db.close()
        aside, saved = salvage.salvage(self.path)
        self._open(readonly=False)
        self._lock()
        self.mended.append(
            f"{self.path} was damaged ({reason}); {saved} rows of it were read, the others are "
            f"computed again. The damaged file is {aside.name}."
        )

    def _prepare(self, *, readonly: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not readonly:
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
        elif version != SCHEMA_VERSION:
            raise UserError(
                f"{self.path} has schema version {version}; this program reads {SCHEMA_VERSION}.",
                fix="Use the version of unimm-eval that made it, or another --output.",
            )
        if not readonly:
            self._db.execute(arrays.SCHEMA)
            self._db.execute(array_files.SCHEMA)

    def _drop_without_media(self) -> None:
        """Outputs whose pictures are gone are computed again."""
        rows = self._db.execute("SELECT rowid, media FROM outputs WHERE media != '{}'").fetchall()
        named = {rowid: list(json.loads(media).values()) for rowid, media in rows}
        missing = self.media.missing(name for names in named.values() for name in names)
        gone = [rowid for rowid, names in named.items() if missing.intersection(names)]
        if gone:
            with self._transaction():
                self._db.executemany("DELETE FROM outputs WHERE rowid=?", [(row,) for row in gone])
            self.mended.append(
                f"{len(missing)} pictures of {self.media.folder} are not there; the {len(gone)} "
                "outputs that they belong to are computed again."
            )

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others use the folder. What was committed is safe with or without it."""
        self._db.close()

    def copy_to(self, folder: Path) -> None:
        """A copy of everything that is committed, in a folder without a store: whole or absent.

        Pictures are linked where the file system can, for they never change.
        """
        with explained(folder):
            for source in self.media.folder.glob("*/*.png"):
                target = folder / "media" / source.parent.name / source.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    link_or_copy(source, target)
            self.arrays.copy_to(folder / array_files.FOLDER)
        temporary = folder / f".{FILE}.tmp"
        temporary.unlink(missing_ok=True)
        with self._explained(), closing(sqlite3.connect(temporary)) as copy:
            self._db.backup(copy)
        with explained(folder):
            temporary.replace(folder / FILE)

    def set_samples(self, task: str, samples: Sequence[Sample]) -> None:
        """Keep the samples of a task, so that the folder can be read without the data."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (
                        task,
                        position,
                        sample.id,
                        _dump(sample.inputs),
                        sample.cluster,
                        sample.repeats,
                    )
                    for position, sample in enumerate(samples)
                ),
            )

    def samples(self, task: str) -> list[Sample]:
        rows = self._read(
            "SELECT sample, inputs, cluster, repeats FROM samples WHERE task=? ORDER BY position",
            task,
        )
        return [
            Sample(id=sample, inputs=json.loads(inputs), cluster=cluster, repeats=repeats)
            for sample, inputs, cluster, repeats in rows
        ]

    def add_outputs(self, task: str, outputs: Sequence[tuple[str, Output]]) -> None:
        """Commit (key, output) pairs in one transaction: all of them or none.

        Their pictures and arrays are durable first. Outputs that are there already stay as they
        are.
        """
        names = iter(
            self.media.add(
                [encode_png(item.load()) for _, output in outputs for item in output.media.values()]
            )
        )
        rows = [
            (
                task,
                output.sample_id,
                output.repeat,
                key,
                _dump(output.values),
                _dump({name: next(names) for name in output.media}),
                _said(output.error),
            )
            for key, output in outputs
        ]
        with self._explained():
            array_rows = self.arrays.add(self._db, task, [output for _, output in outputs])
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO outputs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(*row, salvage.digest(row)) for row in rows],
            )
            array_files.commit(self._db, array_rows)

    def output_keys(self, task: str) -> dict[ItemKey, str]:
        """Which outputs are there, and the key of each."""
        rows = self._read("SELECT sample, repeat, key FROM outputs WHERE task=?", task)
        return {(sample, repeat): key for sample, repeat, key in rows}

    def outputs(self, task: str) -> dict[ItemKey, Output]:
        """All outputs of a task; their pictures and arrays are read when they are looked at."""
        with self._explained():
            arrays_of = self.arrays.read(self._db, task)
        rows = self._read(
            'SELECT sample, repeat, "values", media, error FROM outputs WHERE task=?', task
        )
        return {
            (sample, repeat): Output(
                sample_id=sample,
                repeat=repeat,
                values=json.loads(values),
                media={name: self.media.picture(file) for name, file in json.loads(media).items()},
                arrays=arrays_of.get((sample, repeat), {}),
                error=error,
            )
            for sample, repeat, values, media, error in rows
        }

    def add_scores(
        self, task: str, judge: str, scores: Iterable[Score], *, replace: bool = False
    ) -> None:
        """Commit scores and their arrays in one transaction. A score that is there stays, unless it
        is unscored or all of the task's are to be replaced."""
        scores = list(scores)
        rows = [
            (
                task,
                score.sample_id,
                score.repeat,
                judge,
                _dump(score.values),
                _dump(score.payload),
                _said(score.unscored),
            )
            for score in scores
        ]
        with self._transaction():
            if replace:
                self._db.execute("DELETE FROM scores WHERE task=? AND judge=?", (task, judge))
                arrays.clear(self._db, task, judge)
            arrays.write(self._db, task, judge, scores)
            self._db.executemany(
                "INSERT INTO scores VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                '"values"=excluded."values", payload=excluded.payload, '
                "unscored=excluded.unscored, digest=excluded.digest "
                "WHERE scores.unscored IS NOT NULL",
                [(*row, salvage.digest(row)) for row in rows],
            )

    def scores(self, task: str, judge: str) -> dict[ItemKey, Score]:
        """All scores that one judge gave to a task's outputs; arrays are read when looked at."""
        with self._explained():
            arrays_of = arrays.read(self._db, task, judge)
        rows = self._read(
            'SELECT sample, repeat, "values", payload, unscored FROM scores '
            "WHERE task=? AND judge=?",
            task,
            judge,
        )
        return {
            (sample, repeat): Score(
                sample_id=sample,
                repeat=repeat,
                values=json.loads(values),
                payload=json.loads(payload),
                arrays=arrays_of.get((sample, repeat), {}),
                unscored=unscored,
            )
            for sample, repeat, values, payload, unscored in rows
        }

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._explained():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn failures a user can do something about into messages; others are defects. One
        thread at a time."""
        try:
            with self._alone:
                yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary part of the code
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise UserError(
                    f"Another process is using {self.path.parent}.",
                    fix="Wait until it is done, or choose another folder with --output.",
                ) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise self._damaged(str(error)) from error
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                raise no_room(self.path, str(error)) from error
            if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise not_writable(self.path, str(error)) from error
            raise

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"{self.path} is damaged: {reason}",
            fix=f"Remove it (rm {self.path}*); then the same command computes its outputs again.",
        )


def _dump(value: Any) -> str:
    return scrubbed(json.dumps(value, separators=(",", ":")))


def _said(reason: str | None) -> str | None:
    return None if reason is None else scrubbed(reason)
