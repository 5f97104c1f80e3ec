"""Where what was found out about a source is kept: in folders named by what it depends on.

A folder is written aside and renamed, so it is whole or absent. Whoever comes while it is being
written (another rank, another run that shares the cache) waits for it.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unimm_eval.api import stable_hash
from unimm_eval.train.tools.folder import explained


def kept(cache: Path, what: str, key: Any, build: Callable[[Path], None]) -> Path:
    """The folder `what`-… for everything that `key` says, built when there is none.

    Raises UserError or IncompleteError when it cannot be written, and what `build` raises.
    """
    folder = cache / f"{what}-{stable_hash(key)}"
    if folder.is_dir():
        return folder
    with explained(folder):
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".{folder.name}.lock"):
            if folder.is_dir():
                return folder
            partial = cache / f".{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            os.replace(partial, folder)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)  # and with it the lock
