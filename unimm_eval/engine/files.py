"""Files that are whole or absent.

`write_atomic` guarantees that after it returns the bytes survive a power cut, that a reader sees
the old file or the new one and never a part, and that a crash leaves at most a hidden `.tmp` beside
it, which the next write of the same file overwrites. It costs two fsyncs. It expects one writer a
folder, which the lock of the store sees to.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unimm_eval.api import IncompleteError, UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, creating its folder. Raises UserError or IncompleteError."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_renamed(path, data)
        sync_folder(path.parent)


def write_renamed(path: Path, data: bytes) -> None:
    """Like `write_atomic` but for the entry in the folder: durable after `sync_folder`."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that never changes, or a copy where links cannot be had."""
    try:
        os.link(source, target)
    except OSError:
        write_renamed(target, source.read_bytes())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a failure of the file system at `path` into a message a user can act on."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_ROOM:
            raise no_room(path, reason) from error
        raise not_writable(path, reason) from error


def no_room(path: Path, reason: str) -> IncompleteError:
    return IncompleteError(
        f"{path} cannot be written: {reason}. Everything committed before is kept.",
        fix="See to the disk (is it full?); then the same command continues the run.",
    )


def not_writable(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} cannot be written: {reason}.",
        fix="Choose a folder that can be written with --output.",
    )
