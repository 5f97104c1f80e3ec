"""Where pictures and their captions lie: in a folder, in a JSONL file, in tar shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from unimm_eval.api import UserError, decode_picture
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.files import PICTURES, files_in, find_files
from unimm_eval.train.data.lines import Lines, index_lines, json_object, text_of
from unimm_eval.train.data.pixels import file_name, loader
from unimm_eval.train.data.schema import CaptionsSource
from unimm_eval.train.data.shards import Shards, index_shards

TABLES = ("captions.jsonl", "metadata.jsonl")
_NAMES = ("image", "file_name")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A caption, and uint8 [height, width, 3] of its picture when it is asked for."""

    caption: str
    load: Callable[[int, int], list[np.ndarray]]


class Pairs(Protocol):
    """Pairs by number."""

    def __len__(self) -> int: ...

    def place(self, number: int) -> str: ...

    def read(self, number: int) -> Pair | None:
        """Raises BadRecord."""


def pair_files(spec: CaptionsSource, name: str) -> list[Path]:
    """The files of a source: tar shards, tables, or pictures and the texts beside them."""
    top = Path(spec.path).expanduser()
    if not top.is_dir():
        return find_files(spec.path, source=name, suffixes=(".tar", ".jsonl"))
    if tables := [top / table for table in TABLES if (top / table).is_file()]:
        return tables
    return files_in(top, (".tar",)) or find_files(
        spec.path, source=name, suffixes=(*PICTURES, ".txt")
    )


def index_pairs(files: Sequence[Path], folder: Path) -> None:
    """Write what finds a pair by its number. Raises UserError."""
    endings = {file.suffix.lower() for file in files}
    if endings == {".tar"}:
        index_shards(files, folder)
    elif endings == {".jsonl"}:
        index_lines(files, folder)
    elif not endings <= {*PICTURES, ".txt"}:
        raise UserError(
            f"{files[0]}: {', '.join(sorted(endings))} are not the files of one kind of source",
            fix="Name a folder of pictures, JSONL files, or tar shards.",
        )


def open_pairs(spec: CaptionsSource, files: Sequence[Path], folder: Path) -> Pairs:
    """The pairs of files that were indexed in `folder`."""
    if files[0].suffix.lower() == ".tar":
        return _ShardPairs(Shards(files, folder), spec.field)
    if files[0].suffix.lower() == ".jsonl":
        images = Path(spec.images).expanduser() if spec.images is not None else None
        return _TablePairs(Lines(files, folder), spec.field, images)
    return _FolderPairs(Path(spec.path).expanduser(), files)


class _FolderPairs:
    def __init__(self, top: Path, files: Sequence[Path]) -> None:
        self._top = top
        self._files = [file for file in files if file.suffix.lower() in PICTURES]

    def __len__(self) -> int:
        return len(self._files)

    def place(self, number: int) -> str:
        return self._files[number].relative_to(self._top).as_posix()

    def read(self, number: int) -> Pair | None:
        file = self._files[number]
        beside = file.with_suffix(".txt")
        try:
            text = beside.read_bytes().decode("utf-8-sig")
        except FileNotFoundError as error:
            raise BadRecord(f"has no caption: no {beside.name} beside it") from error
        except OSError as error:
            raise BadRecord(f"{beside.name} cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise BadRecord(f"{beside.name} is not UTF-8 (byte {error.start:,})") from error
        caption = text_of({"caption": text}, "caption")
        return Pair(caption=caption, load=loader(file.parent, [file.name]))


class _TablePairs:
    def __init__(self, lines: Lines, field: str, images: Path | None) -> None:
        self._lines, self._field, self._images = lines, field, images
        self.place = lines.place

    def __len__(self) -> int:
        return len(self._lines)

    def read(self, number: int) -> Pair | None:
        fields = self._lines.object(number)
        if fields is None:
            return None
        key = next((key for key in _NAMES if key in fields), None)
        if key is None:
            raise BadRecord(f"has no {' or '.join(_NAMES)}")
        folder = self._images or self._lines.file(number).parent
        load = loader(folder, [file_name(fields[key])])
        return Pair(caption=text_of(fields, self._field), load=load)


class _ShardPairs:
    def __init__(self, shards: Shards, field: str) -> None:
        self._shards, self._field = shards, field
        self.place = shards.place

    def __len__(self) -> int:
        return len(self._shards)

    def read(self, number: int) -> Pair | None:
        self._shards.check(number)
        data, is_json = self._shards.caption(number)
        if is_json:
            caption = text_of(json_object(data) or {}, self._field)
        else:
            try:
                caption = text_of({"caption": data.decode("utf-8-sig")}, "caption")
            except UnicodeDecodeError as error:
                raise BadRecord(f"its caption is not UTF-8 (byte {error.start:,})") from error

        def load(begin: int, end: int) -> list[np.ndarray]:
            name = self.place(number)
            return [np.array(decode_picture(self._shards.picture(number), name=name))]

        return Pair(caption=caption, load=load)
