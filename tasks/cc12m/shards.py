"""Captioned pictures in WebDataset shards, read through an index and never unpacked.

A shard is a tar of files that belong together by their name up to its first point: `000123.jpg` and
`000123.txt` (or the `caption` in `000123.json`). The index is where each picture's bytes stand.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path, PurePosixPath

from unimm_eval.api import Picture, PictureError, UserError, decode_picture

PICTURES = ("jpg", "jpeg", "png", "webp")
MAX_BYTES = 64 * 2**20
"""A larger member is no picture or caption of anybody's, and is not read into memory."""


@dataclass(frozen=True, kw_only=True)
class ShardPicture:
    """A picture as `size` bytes of a tar from `offset` on, its name in the tar, and its caption.
    One that cannot be used has a `fault`, which says why."""

    file: Path
    name: str
    offset: int = 0
    size: int = 0
    sha256: str = ""
    caption: str = ""
    fault: str = ""

    def picture(self) -> Picture:
        """Raises PictureError when it does not decode, or the shard is no longer the one that was
        read."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read(self.size)
        except OSError as error:
            raise PictureError(f"{self.name}: cannot be read ({error.strerror})") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise PictureError(f"{self.name}: {self.file.name} has changed since this run began")
        return Picture(array=decode_picture(data, name=self.name))


def read_shards(paths: Sequence[Path], *, pictures: int) -> list[ShardPicture]:
    """The first `pictures` of the shards, in order. A picture without a caption, a caption without
    a picture and the place where a shard ends before its time have a fault. Raises UserError when a
    file is not there, or they hold nothing."""
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path} is no file.", fix="--set cc12m.path=SHARD.tar names one.")
    found = list(islice(chain.from_iterable(_pictures(path) for path in paths), pictures))
    if not found:
        raise UserError(
            f"{', '.join(str(path) for path in paths)}: no pictures are in it.",
            fix="A shard is a tar of pictures (jpg, png, webp), each with a .txt of its name.",
        )
    return found


def _pictures(path: Path) -> Iterator[ShardPicture]:
    number = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for key, members in groupby(_files(tar), key=_key):
                yield _picture(path, tar, key, {_kind(member): member for member in members})
                number += 1
    except (tarfile.TarError, OSError) as error:
        told = f"{path.name} ends early, behind picture {number:,}: {error}"
        yield ShardPicture(file=path, name=f"{path.name}#{number + 1}", fault=told)


def _files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Plain files; links, devices and folders are nothing to look at."""
    return (member for member in tar if member.isreg() and not member.issparse())


def _key(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _kind(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).name.partition(".")[2].lower()


def _picture(
    path: Path, tar: tarfile.TarFile, key: str, members: dict[str, tarfile.TarInfo]
) -> ShardPicture:
    shown = next((members[kind] for kind in PICTURES if kind in members), None)
    if shown is None:
        return ShardPicture(file=path, name=key, fault=f"{key}: a caption without a picture")
    try:
        data = _read(tar, shown)
        caption = _caption(tar, members)
    except ValueError as error:
        return ShardPicture(file=path, name=shown.name, fault=f"{shown.name}: {error}")
    return ShardPicture(
        file=path,
        name=shown.name,
        offset=shown.offset_data,
        size=shown.size,
        sha256=hashlib.sha256(data).hexdigest(),
        caption=caption,
    )


def _caption(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> str:
    """Raises ValueError saying what is wrong with it."""
    caption: object = ""
    try:
        if "txt" in members:
            caption = _read(tar, members["txt"]).decode("utf-8")
        elif "json" in members:
            record = json.loads(_read(tar, members["json"]))
            caption = record.get("caption") if isinstance(record, dict) else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"its caption is not UTF-8 text (byte {error.start:,})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError("its caption is not JSON") from error
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError("has no caption")
    return caption.strip()


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Raises ValueError for what is too large, tarfile.ReadError for what is cut off."""
    if member.size > MAX_BYTES:
        raise ValueError(f"has {member.size:,} bytes, more than the {MAX_BYTES:,} allowed")
    stream = tar.extractfile(member)
    data = stream.read() if stream else b""
    if len(data) != member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data
