"""`images:DIR`: pictures that somebody already made, in the folders of a benchmark.

Two layouts are read, and may be mixed:

* a folder a prompt, as GenEval's: `DIR/00012/samples/0003.png` with `DIR/00012/metadata.jsonl`;
  numbers may have any count of digits, so `0012/samples/3.png` is the same picture;
* a file a prompt, as DPG-Bench's and WISE's: `DIR/NAME.png`.

What is missing, there twice or not a picture is an error of the one output that needs it.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm_eval.api import ImageRequest, Picture, PictureError, UserError, stable_hash
from unimm_eval.data import sha256_file

if TYPE_CHECKING:
    import numpy as np

PREFIX = "images:"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
METADATA = "metadata.jsonl"
_LAYOUT = (
    "Give --model images:DIR a folder that holds DIR/00000/samples/00000.png and so on "
    "(GenEval's layout), or one file a prompt, DIR/ID.png."
)


class ImagesFolder:
    """Pictures by the benchmark's own id and the index of the repeat."""

    summary = "pictures that are there already, in a benchmark's own folder layout"
    examples = ("images:DIR",)
    capabilities = frozenset({"GeneratesImages"})

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec.startswith(PREFIX)

    @classmethod
    def capabilities_for(cls, spec: str) -> frozenset[str]:
        _folder_of(spec)
        return cls.capabilities

    @classmethod
    def load(cls, spec: str, *, device: str, dtype: str) -> "ImagesFolder":
        """Nothing is computed, so `device` and `dtype` change nothing. Raises UserError."""
        return cls(_folder_of(spec))

    @property
    def name(self) -> str:
        return self._folder.resolve().name

    @cached_property
    def fingerprint(self) -> str:
        """Hash of every picture and of what stands beside it, with their names."""
        files = sorted(
            [*(path for paths in self._files.values() for path in paths), *self._metadata]
        )
        rows = [[path.relative_to(self._folder).as_posix(), sha256_file(path)] for path in files]
        return stable_hash(rows, length=64)

    def describe(self) -> Mapping[str, Any]:
        return {"pictures": sum(len(paths) for paths in self._files.values())}

    def generate_images(self, requests: Sequence[ImageRequest]) -> "list[np.ndarray]":
        """The pictures as they are in their files. Raises PictureError for the first that cannot be
        had."""
        return [self.picture(request.key, request.repeat).load() for request in requests]

    def picture(self, key: str, repeat: int) -> Picture:
        """Picture `repeat` of a prompt; the one file of a prompt is its picture 0. Raises
        PictureError when there is none, or more than one."""
        paths = self._files.get((_plain(key), repeat), [])
        if len(paths) > 1:
            names = ", ".join(self._named(path) for path in paths)
            raise PictureError(f"picture {repeat} of {key} is there {len(paths)} times: {names}")
        if not paths:
            there = sorted(index for name, index in self._files if name == _plain(key))
            told = f"of {key} there are {', '.join(map(str, there))}" if there else "none of it is"
            raise PictureError(f"picture {repeat} of {key} is missing in {self._folder} ({told})")
        return Picture(path=paths[0])

    def single(self, key: str) -> Picture | None:
        """The one file of a prompt, which may be a grid of its pictures; None where the prompt has
        a folder of its own or nothing. Raises PictureError when there is more than one."""
        paths = self._files.get((_plain(key), 0), [])
        if not paths or any(path.parent != self._folder for path in paths):
            return None
        return self.picture(key, 0)

    def metadata_of(self, key: str) -> Any:
        """What `metadata.jsonl` beside the pictures says; None where there is no such file. Raises
        PictureError when it is not JSON, or there are two."""
        paths = [path for path in self._metadata if _plain(path.parent.name) == _plain(key)]
        if not paths:
            return None
        if len(paths) > 1:
            names = ", ".join(self._named(path.parent) for path in paths)
            raise PictureError(f"{key} is there {len(paths)} times: {names}")
        try:
            return json.loads(paths[0].read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PictureError(f"{self._named(paths[0])} is not JSON: {error}") from error

    @cached_property
    def _metadata(self) -> list[Path]:
        return [path / METADATA for path in self._folders if (path / METADATA).is_file()]

    @cached_property
    def _folders(self) -> list[Path]:
        return [path for path in sorted(self._folder.iterdir()) if path.is_dir()]

    @cached_property
    def _files(self) -> Mapping[tuple[str, int], list[Path]]:
        """Files by (id, index of the repeat)."""
        found: dict[tuple[str, int], list[Path]] = defaultdict(list)
        for folder in self._folders:
            for path in _pictures_in(folder / "samples"):
                if path.stem.isdecimal():
                    found[_plain(folder.name), int(path.stem)].append(path)
        for path in _pictures_in(self._folder):
            found[_plain(path.stem), 0].append(path)
        return dict(found)

    def _named(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _folder_of(spec: str) -> Path:
    """The folder, which holds at least one picture. Raises UserError."""
    folder = Path(spec.removeprefix(PREFIX)).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder of pictures.", fix=_LAYOUT)
    try:
        nested = (path for path in folder.iterdir() if path.is_dir())
        if any(_pictures_in(folder)) or any(any(_pictures_in(p / "samples")) for p in nested):
            return folder
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from error
    raise UserError(f"{folder} holds no pictures.", fix=_LAYOUT)


def _pictures_in(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)


def _plain(key: str) -> str:
    """The id without leading zeros, where it is a number."""
    return str(int(key)) if key.isdecimal() else key
