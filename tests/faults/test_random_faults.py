"""A hundred faults of all kinds, one after the other: no sample lost or doubled, no wrong number,
and every stop says what to do."""

import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "kill_child.py"
FAULTS = 100


def run(folder: Path, *, line: int = 0, most_bytes: int | None = None):
    """A run that may kill itself at a line of the engine, or have no more room in a file."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.run(
        [sys.executable, str(CHILD), str(folder), str(line)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=no_room if most_bytes else None,
    )


def record_of(folder: Path) -> dict:
    record = json.loads((folder / "results.json").read_text())
    del record["volatile"]
    return record


def scribble(rng: random.Random, path: Path, *, start: int) -> bool:
    """Random bytes somewhere behind `start`."""
    data = bytearray(path.read_bytes())
    if len(data) <= start + 64:
        return False
    at = rng.randrange(start, len(data) - 64)
    data[at : at + 64] = rng.randbytes(64)
    path.write_bytes(data)
    return True


def damage_store(rng: random.Random, folder: Path) -> bool:
    store = folder / "store.sqlite"
    return store.exists() and scribble(rng, store, start=100)


def damage_log(rng: random.Random, folder: Path) -> bool:
    """The write-ahead log that a kill leaves ends in its middle."""
    log = folder / "store.sqlite-wal"
    if not log.exists() or log.stat().st_size < 2:
        return False
    with log.open("r+b") as file:
        file.truncate(rng.randrange(1, log.stat().st_size))
    return True


def damage_picture(rng: random.Random, folder: Path) -> bool:
    pictures = sorted(folder.glob("media/??/*.png"))
    return bool(pictures) and scribble(rng, rng.choice(pictures), start=0)


def mend(folder: Path, said: str) -> None:
    """What the message tells to do: remove a file, or nothing but the same command again."""
    for word in said.split():
        path = Path(word.strip("();.").rstrip("*"))
        if "rm " in said and path.name.startswith("store.sqlite"):
            for file in folder.glob("store.sqlite*"):
                if ".damaged" not in file.name:
                    file.unlink()
        elif "rm " in said and path.suffix == ".png" and path.is_file():
            path.unlink()


@pytest.mark.long
def test_a_hundred_faults_change_nothing(tmp_path):
    whole = run(tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    lines, expected = int(whole.stdout), record_of(tmp_path / "whole")
    pictures = {path.name for path in tmp_path.glob("whole/media/??/*.png")}
    rng = random.Random(100)
    folder, met = tmp_path / "run", dict.fromkeys(("kill", "room", "store", "log", "picture"), 0)
    while sum(met.values()) < FAULTS:
        kind = min(met, key=lambda name: (met[name], rng.random()))
        line, most = 0, None
        if kind == "kill":
            line = rng.randint(1, lines)
        elif kind == "room":
            most = rng.randrange(4096, 120_000)
        else:
            run(folder, line=rng.randint(lines // 8, lines))  # something to damage
            damage = {"store": damage_store, "log": damage_log, "picture": damage_picture}[kind]
            if not damage(rng, folder):
                continue
        ended = run(folder, line=line, most_bytes=most)
        met[kind] += 1
        for _ in range(3):
            if ended.returncode == 0 or ended.returncode == -9:
                break
            said = ended.stderr
            assert "UserError" in said or "IncompleteError" in said, f"{kind}: {said}"
            assert any(word in said for word in ("continues", "rm ", "--output")), said
            mend(folder, said)
            ended = run(folder)
        if ended.returncode == 0:
            assert record_of(folder) == expected, kind
            with sqlite3.connect(folder / "store.sqlite") as database:
                rows = database.execute(
                    "SELECT task, COUNT(*), COUNT(DISTINCT sample || '/' || repeat) FROM outputs "
                    "GROUP BY task"
                ).fetchall()
            assert rows == [(task, count, count) for task, count, _ in rows]
            assert {path.name for path in folder.glob("media/??/*.png")} >= pictures
            shutil.rmtree(folder)
    assert min(met.values()) >= FAULTS // 10, met
    last = run(folder)
    assert last.returncode == 0, last.stderr
    assert record_of(folder) == expected
