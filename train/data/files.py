"""Files that a source names, and what makes two of them the same content."""

import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from unimm_eval.api import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v")
BY_NAME = (*PICTURES, *VIDEOS, ".txt")
_SAMPLED = 1 << 16
"""Bytes read at the beginning, in the middle and at the end of a file to know it again."""


def find_files(path: str, *, source: str, suffixes: Sequence[str]) -> list[Path]:
    """The files that `path` names, ordered by name: one, all with these endings in a folder and
    below, or those of a pattern. Raises UserError when there are none."""
    where = Path(path).expanduser()
    if where.is_file():
        return [where]
    if where.is_dir():
        found = files_in(where, suffixes)
    else:
        found = sorted(Path(name) for name in glob.glob(str(where), recursive=True))
        found = [file for file in found if file.is_file()]
    if not found:
        wanted = ", ".join(suffixes)
        raise UserError(
            f"sources.{source}: {path}: "
            + (f"no file in it ends in {wanted}" if where.is_dir() else "there is no such file"),
            fix=f"Name a file, a folder or a pattern of files that end in {wanted}.",
        )
    return found


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files in a folder and below with one of these endings, ordered by name."""
    endings = tuple(suffixes)
    return sorted(file for file in folder.rglob("*") if file.name.lower().endswith(endings))


def fingerprint(files: Sequence[Path]) -> str:
    """SHA-256 of the names and sizes of files and of three pieces of each.

    Whole files are not read: they may hold terabytes. Pictures, videos and the texts beside them
    may be millions, so they are known by names and sizes alone. A change that leaves all of this as
    it was is not noticed. Raises UserError for a file that cannot be read.
    """
    known = hashlib.sha256()
    root = Path(os.path.commonpath([file.parent for file in files]))
    for file in files:
        try:
            size = file.stat().st_size
            known.update(f"{file.relative_to(root).as_posix()}\0{size}\0".encode())
            if file.suffix.lower() not in BY_NAME:
                with open(file, "rb") as stream:
                    for at in (0, max(0, size // 2 - _SAMPLED // 2), max(0, size - _SAMPLED)):
                        stream.seek(at)
                        known.update(stream.read(_SAMPLED))
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error
    return known.hexdigest()
