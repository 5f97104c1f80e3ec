"""Latents of pictures that were encoded once (`unimm-train encode`), as memory-mapped shards.

    DIR/NAME-<key>/first.npy              [records + 1]: which picture a record's first one is
                   latents-00000.npy      fp32 [pictures, T, C], some 1 GB a shard
                   understood-00000.npy   of a dual encoder's reader, fp32 [pictures, T, U]
                   bad-00000.json         pictures that could not be read, and why

The key is made of the content of the source and of the encoder with its frozen weights, so latents
of anything else are never used. A shard is written aside and renamed: it is whole or absent.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import UserError, stable_hash
from unimm_eval.model.encoders import Encoder, encoder_identity
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.schema import SourceSpec
from unimm_eval.train.data.show import Latents
from unimm_eval.train.recipe import Recipe

SHARD_BYTES = 1 << 30


class Place:
    """Where the latents of a source are, by the content of the source and by the encoder."""

    def __init__(
        self, root: Path, name: str, spec: SourceSpec, *, fingerprint: str, encoder: Encoder
    ) -> None:
        key = stable_hash([spec.settings(), fingerprint, _seen_by(encoder.to_json())])
        self.name, self.encoder = name, encoder
        self.folder = root / f"{name}-{key}"

    @property
    def kinds(self) -> dict[str, Encoder]:
        """Files of a shard, and what encodes for each."""
        kinds = {"latents": self.encoder}
        if self.encoder.understanding_channels:
            kinds["understood"] = self.encoder.reader
        return kinds

    @property
    def bytes_a_picture(self) -> int:
        return sum(4 * one.tokens * one.channels for one in self.kinds.values())

    @property
    def pictures_a_shard(self) -> int:
        return max(1, SHARD_BYTES // self.bytes_a_picture)

    @cached_property
    def first(self) -> np.ndarray:
        """[records + 1]: the number of each record's first picture, and of all."""
        return np.load(self.folder / "first.npy", mmap_mode="r")

    def shards(self) -> Iterator[tuple[int, int, int]]:
        """Number of each shard, its first picture and that of the next."""
        size, pictures = self.pictures_a_shard, int(self.first[-1])
        for number, begin in enumerate(range(0, pictures, size)):
            yield number, begin, min(begin + size, pictures)

    def file(self, kind: str, shard: int) -> Path:
        return self.folder / f"{kind}-{shard:05d}.{'json' if kind == 'bad' else 'npy'}"

    def done(self, shard: int) -> bool:
        """Whether a shard is whole; its list of bad pictures is written last."""
        return self.file("bad", shard).exists()


class CachedLatents:
    """Latents of a source's pictures, by the number of the record and of the picture in it."""

    def __init__(self, place: Place) -> None:
        """Raises UserError when some are missing."""
        self._place = place
        made = (place.folder / "first.npy").exists()
        if not made or not all(place.done(shard) for shard, _, _ in place.shards()):
            state = "not all there" if made else "not there"
            raise UserError(
                f"latents: of sources.{place.name} by this encoder they are {state} "
                f"({place.folder})",
                fix="Make them with `unimm-train encode RECIPE --output DIR`, or leave `latents`.",
            )
        self._arrays: dict[tuple[str, int], np.ndarray] = {}
        self._bad: dict[int, str] = {}
        for shard, _, _ in place.shards():
            found = json.loads(place.file("bad", shard).read_text(encoding="utf-8"))
            self._bad.update({int(number): reason for number, reason in found.items()})

    def latents(self, record: int, picture: int) -> Latents:
        """Raises BadRecord for a picture that could not be read."""
        number = int(self._place.first[record]) + picture
        if (reason := self._bad.get(number)) is not None:
            raise BadRecord(reason)

        def read(*, understood: bool) -> np.ndarray:
            dual = self._place.encoder.understanding_channels > 0
            kind = "understood" if understood and dual else "latents"
            shard, at = divmod(number, self._place.pictures_a_shard)
            return np.array(self._shard(kind, shard)[at])

        return read

    def _shard(self, kind: str, shard: int) -> np.ndarray:
        if (kind, shard) not in self._arrays:
            path = self._place.file(kind, shard)
            try:
                self._arrays[kind, shard] = np.load(path, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path} cannot be read: {error}",
                    fix=f"Remove it and {self._place.file('bad', shard).name}, and encode again.",
                ) from error
        return self._arrays[kind, shard]


def open_latents(recipe: Recipe, name: str, encoder: Encoder) -> CachedLatents | None:
    """The latents of a source where the recipe names a folder of them. Raises UserError when that
    lacks some."""
    if recipe.latents is None:
        return None
    spec = recipe.sources[name]
    assert spec.fingerprint is not None
    root = Path(recipe.latents).expanduser()
    place = Place(root, name, spec, fingerprint=spec.fingerprint, encoder=encoder)
    return CachedLatents(place)


def _seen_by(values: dict[str, Any]) -> dict[str, Any]:
    """An encoder without its decoder, which makes nothing of what is kept here."""
    return encoder_identity(
        {
            name: _seen_by(value) if isinstance(value, dict) and "kind" in value else value
            for name, value in values.items()
            if name != "decoder"
        }
    )
