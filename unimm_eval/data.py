"""Files of benchmarks and of the user: where they are, whether they are whole, reading text."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import UserError

ENVIRONMENT = "UNIMM_EVAL_DATA"


def data_dir(given: str | Path | None = None) -> Path:
    """Where benchmark files are kept: as given, else $UNIMM_EVAL_DATA, else the user's cache."""
    if given is not None:
        return Path(given).expanduser()
    if named := os.environ.get(ENVIRONMENT):
        return Path(named).expanduser()
    return _user_cache() / "unimm-eval"


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file of a benchmark, pinned by its content. `name` is its path under the data folder."""

    name: str
    url: str
    sha256: str
    size: int


def verify(file: DataFile, folder: Path) -> Path:
    """Path of a pinned file. Raises UserError when it is missing or not the pinned one."""
    path = folder / file.name
    fix = f"Put {file.url} there, or name another folder with --data-dir or ${ENVIRONMENT}."
    if not path.is_file():
        raise UserError(f"{path} is missing.", fix=fix)
    if (size := path.stat().st_size) != file.size:
        raise UserError(f"{path} has {size:,} bytes instead of {file.size:,}.", fix=fix)
    if (digest := sha256_file(path)) != file.sha256:
        raise UserError(f"{path} has SHA-256 {digest} instead of {file.sha256}.", fix=fix)
    return path


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises UserError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """A text file, exactly. Raises UserError when it is unreadable, empty or not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not data.strip():
        raise UserError(f"{path} is empty.", fix="Name a file that holds text.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}.",
            fix="Convert it first, e.g. with iconv -t UTF-8.",
        ) from error
