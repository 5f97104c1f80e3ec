"""Tar shards of samples (WebDataset): where the parts of each sample stand, written down once.

The files of a sample follow one another and have the same name up to its first point: a picture,
and a `.txt` or `.json` with its caption. Shards are never unpacked.
"""

import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.train.data.bad import BadRecord

PICTURES = ("jpg", "jpeg", "png", "webp")
CAPTIONS = ("txt", "json")
MAX_BYTES = 64 * 2**20
"""A larger member is no picture or caption of anybody's, and is not read into memory."""
_SAMPLE = np.dtype(
    [
        ("shard", np.int32),
        ("name", np.int64),
        ("picture", np.int64, 2),
        ("caption", np.int64, 2),
        ("json", np.bool_),
    ]
)
"""`picture` and `caption` are offset and size in the shard, of size -1 where there is none; `name`
is where the sample's name begins among all names."""


def index_shards(files: Sequence[Path], folder: Path) -> None:
    """Write `samples.npy` and `names.txt`. Raises UserError for a shard that cannot be read."""
    samples: list[tuple[object, ...]] = []
    with open(folder / "names.txt", "wb") as names:
        for number, path in enumerate(files):
            try:
                for key, members in _samples(path):
                    samples.append(_sample(number, names.tell(), members))
                    names.write(key.encode("utf-8", "surrogateescape") + b"\n")
            except (tarfile.TarError, OSError, EOFError) as error:
                raise UserError(
                    f"{path} is no whole tar file: {error}",
                    fix="Bring the whole shard, or take it out; unpack a compressed one.",
                ) from error
    np.save(folder / "samples.npy", np.array(samples, dtype=_SAMPLE))


class Shards:
    """Samples of tar shards, by number."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self.files = list(files)
        self._names = folder / "names.txt"
        self._samples = np.load(folder / "samples.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self._samples)

    def place(self, number: int) -> str:
        """`shard:member`"""
        sample = self._samples[number]
        with open(self._names, "rb") as file:
            file.seek(int(sample["name"]))
            name = file.readline().rstrip(b"\n").decode("utf-8", "replace")
        return f"{self.files[sample['shard']].name}:{name}"

    def picture(self, number: int) -> bytes:
        """Raises BadRecord."""
        return self._part(number, "picture")

    def caption(self, number: int) -> tuple[bytes, bool]:
        """The file of the caption, and whether it is JSON. Raises BadRecord."""
        return self._part(number, "caption"), bool(self._samples[number]["json"])

    def check(self, number: int) -> None:
        """Raises BadRecord for a sample that lacks a part, or has one that is too large."""
        for part in ("picture", "caption"):
            size = int(self._samples[number][part][1])
            if size < 0:
                raise BadRecord(f"has no {part}")
            if size > MAX_BYTES:
                raise BadRecord(f"its {part} has {size:,} bytes, more than {MAX_BYTES:,}")

    def _part(self, number: int, part: str) -> bytes:
        sample = self._samples[number]
        offset, size = (int(value) for value in sample[part])
        try:
            with open(self.files[sample["shard"]], "rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise BadRecord(f"cannot be read ({error.strerror})") from error


def _samples(path: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Name of each sample, and offset and size of its members by the end of their names."""
    size = path.stat().st_size
    with tarfile.open(path, "r:") as tar:
        members = (member for member in tar if member.isreg() and not member.issparse())
        for key, group in groupby(members, key=_key):
            found = {}
            for member in group:
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError(f"it ends within {member.name}")
                ending = PurePosixPath(member.name).name.partition(".")[2].lower()
                found[ending] = (member.offset_data, member.size)
            yield key, found


def _sample(shard: int, name: int, members: dict[str, tuple[int, int]]) -> tuple[object, ...]:
    picture, caption = (
        next((kind for kind in kinds if kind in members), None) for kinds in (PICTURES, CAPTIONS)
    )
    missing = (0, -1)
    return (
        *(shard, name),
        missing if picture is None else members[picture],
        missing if caption is None else members[caption],
        caption == "json",
    )


def _key(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))
