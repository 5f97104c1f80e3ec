"""Benchmark files on this machine: where they are, whether they are the pinned ones, reading text.

A file is pinned by what is known of it: its SHA-256, or the id that git gives to its content
(SHA-1 over a header and the bytes). Where a source publishes neither, the SHA-256 of the first
fetch is written beside the file (`NAME.sha256`) and holds from then on: trust on first use.
"""

import hashlib
import os
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unimm_eval.api import Card, UserError

ENVIRONMENT = "UNIMM_EVAL_DATA"

State = Literal["there", "missing", "wrong size"]


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


class DataFile(BaseModel):
    """A file of a benchmark, pinned by its content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="its path under the data folder")
    url: str = Field(description="where it is fetched from, at a fixed revision")
    sha256: str | None = Field(None, description="of its bytes, in hex; absent where unknown")
    git_blob: str | None = Field(None, description="git's id of its content, in hex")
    size: int | None = Field(None, description="in bytes; absent where unknown")
    licence: str = Field("", description="as its source states it")

    def path(self, folder: Path) -> Path:
        return folder / self.name

    def record(self, folder: Path) -> Path:
        """Where the SHA-256 of the first fetch stands, when nothing is known of the content."""
        return folder / f"{self.name}.sha256"

    @property
    def pin(self) -> str:
        """What it is checked by, for a reader."""
        if self.sha256:
            return f"SHA-256 {self.sha256}"
        if self.git_blob:
            return f"git blob {self.git_blob}"
        return "no published hash: that of the first fetch is kept"


def files_of(card: Card) -> tuple[DataFile, ...]:
    """The files that a card lists in `data.files`. Raises UserError naming the card and field."""
    try:
        return tuple(DataFile.model_validate(row) for row in card.data.get("files", ()))
    except ValidationError as error:
        fields = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        )
        raise UserError(f"The card of {card.name} lists a file wrongly: {fields}") from error


def state_of(file: DataFile, folder: Path) -> State:
    """What can be seen of a file without reading it."""
    path = file.path(folder)
    if not path.is_file():
        return "missing"
    return "there" if file.size in (None, path.stat().st_size) else "wrong size"


def verify(file: DataFile, folder: Path, *, task: str = "") -> Path:
    """Path of a pinned file. Raises UserError when it is missing or not the pinned one.

    `task` is whose file it is, for the command in the message.
    """
    path = file.path(folder)
    fix = f"Put {file.url} there ({file.pin}), or name another folder with --data-dir or "
    fix = f"{fix}${ENVIRONMENT}."
    if task:
        fix = f"unimm-eval data fetch {task} gets it where there is a network.\n{fix}"
    if not path.is_file():
        raise UserError(f"{path} is missing.", fix=fix)
    if file.size is not None and (size := path.stat().st_size) != file.size:
        raise UserError(f"{path} has {size:,} bytes instead of {file.size:,}.", fix=fix)
    if wrong := mismatch(file, path, record=file.record(folder)):
        raise UserError(f"{path} {wrong}.", fix=fix)
    return path


def mismatch(file: DataFile, path: Path, *, record: Path) -> str:
    """How the content of `path` differs from the pinned one; empty where it does not."""
    if file.git_blob and (found := _git_blob(path)) != file.git_blob:
        return f"is git blob {found} instead of {file.git_blob}"
    wanted = file.sha256 or (_recorded(record) if not file.git_blob else None)
    if wanted and (digest := sha256_file(path)) != wanted:
        return f"has SHA-256 {digest} instead of {wanted}"
    return ""


def _recorded(record: Path) -> str | None:
    return record.read_text(encoding="ascii").split()[0] if record.is_file() else None


def _git_blob(path: Path) -> str:
    """Git's id of a file's content: SHA-1 of `blob SIZE\\0` and the bytes."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


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
