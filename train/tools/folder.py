"""A folder of results: one process at a time, and only for what it was begun with."""

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unimm_eval.api import IncompleteError, UserError

SETUP = "run.json"
_LOCK = ".lock"
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def opened(folder: Path, setup: Mapping[str, Any]) -> Iterator[None]:
    """Hold `folder` for this process. What was begun with another `setup` is refused by name.

    Raises UserError.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"Another process is using {folder}.",
                fix="Wait until it is done, or choose another folder with --output.",
            ) from error
        _check_setup(folder, json.loads(json.dumps(setup)))
        yield
    finally:
        os.close(lock)  # and with it the lock


def _check_setup(folder: Path, setup: dict[str, Any]) -> None:
    path = folder / SETUP
    fix = "Choose another folder with --output."
    if not path.exists():
        taken = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
        if taken:
            raise UserError(f"{folder} holds something else: {', '.join(taken[:3])}.", fix=fix)
        write_lines(path, [json.dumps(setup, indent=2)])
        return
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.", fix=fix) from error
    known = known if isinstance(known, dict) else {}
    for key in (*setup, *known):
        if known.get(key) != setup.get(key):
            was, now = (json.dumps(value)[:200] for value in (known.get(key), setup.get(key)))
            raise UserError(f"{folder} was begun with {key} {was}; now it is {now}.", fix=fix)


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write a text file that is whole or absent and survives a power cut; how many lines it has.

    Raises UserError or IncompleteError.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    count = 0
    with explained(path):
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    return count


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(descriptor: int, data: bytes, *, at: int, path: Path) -> None:
    """Add `data` to a file of `at` bytes, durably. What a full disk cut off is taken back.

    Raises UserError or IncompleteError.
    """
    with explained(path):
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, at)
            raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a failure of the file system at `path` into a message a user can act on."""
    try:
        yield
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}."
        if error.errno in _NO_ROOM:
            raise IncompleteError(
                f"{what} Everything written before is kept.",
                fix="See to the disk (is it full?); then the same command goes on.",
            ) from error
        raise UserError(what, fix="Choose a folder that can be written with --output.") from error
