"""A run in the benchmark's own files: `exports/<task>/`.

They are made anew from the store whenever a run is summarized, so they are not made durable.
Pictures are hard links to those of `media/` where the file system has such, else copies.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from unimm_eval.api import Picture
from unimm_eval.engine.files import explained

File = tuple[str, bytes | Picture]
"""A name, with / between its parts, and what stands in it."""


def checked(files: Iterable[File]) -> Iterator[File]:
    """The same files. Raises ValueError for a name that leads out of the folder."""
    for name, content in files:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise ValueError(f"{name!r} is not the name of a file to export")
        yield name, content


def write_exports(folder: Path, files: Iterable[File]) -> None:
    """Write `checked` files below `folder`, which is made if there are any. Raises UserError or
    IncompleteError where they cannot be written."""
    for name, content in files:
        path = folder / name
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                assert content.path is not None, "pictures of a store are files"
                _link(content.path, path)


def _link(source: Path, path: Path) -> None:
    if path.exists() and path.samefile(source):
        return
    path.unlink(missing_ok=True)
    try:
        os.link(source, path)
    except OSError:  # no hard links here, or too many of this file
        shutil.copyfile(source, path)
