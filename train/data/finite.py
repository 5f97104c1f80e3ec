"""A declared source, packed: its rows by number, each with its documents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from unimm_eval.api import SampleError
from unimm_eval.model.sequence import Document, document_length
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord, Skip
from unimm_eval.train.data.measure import Measured
from unimm_eval.train.data.packing import pack_frames, pack_whole
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.show import Latents, Pictures, Shown
from unimm_eval.train.data.store import kept
from unimm_eval.train.recipe import Stage

_ARRAYS = ("pieces", "starts")


class FiniteSource(Protocol):
    """Rows that a mixture draws from, an epoch after another."""

    skips: list[Skip]
    """Records that are in no row."""

    @property
    def records(self) -> int:
        """All of them, with those that are in no row."""

    @property
    def rows(self) -> int:
        """Of an epoch."""

    def tokens_a_row(self, *, dropout: float) -> float:
        """Mean over the rows of an epoch, with a share of the conditions left out."""

    def documents(
        self, row: int, rng: np.random.Generator, stage: Stage
    ) -> tuple[list[Document], list[Skip]]:
        """Documents of a row, and the records of it that turned out to be bad."""


class CachedLatents(Protocol):
    """Latents of a source's pictures, by the number of the record and of the picture in it."""

    def latents(self, record: int, picture: int) -> Latents:
        """Raises BadRecord for a picture that could not be encoded."""


class PackedRecords:
    """Records with pictures, in rows of `length` tokens."""

    def __init__(
        self,
        name: str,
        records: Records,
        measured: Measured,
        *,
        tokenizer: Tokenizer,
        pictures: Pictures,
        cached: CachedLatents | None,
        length: int,
    ) -> None:
        self.name, self.reader, self.tokenizer = name, records, tokenizer
        self.pictures, self.cached = pictures, cached
        self._frame = frame = pictures.encoder.tokens + 2
        self._lengths, self._pictures = measured.tokens, measured.pictures
        least = measured.tokens
        if records.cut:  # what is before the first frame, and that one
            least = least - np.maximum(measured.pictures - 1, 0) * frame
        long = np.flatnonzero(least > length)
        self.skips = measured.skips + [
            Skip(
                source=name,
                place=records.place(int(number)),
                reason=f"takes {least[number]:,} tokens, more than a row's {length:,}",
            )
            for number in long
        ]
        tokens = np.array(measured.tokens)
        tokens[long] = 0

        def pack(folder: Path) -> None:
            if records.cut:
                packed = pack_frames(tokens, measured.pictures, length=length, frame=frame, again=1)
            else:
                packed = pack_whole(tokens, measured.pictures, length=length)
            for array, values in zip(_ARRAYS, packed, strict=True):
                np.save(folder / f"{array}.npy", values)

        folder = kept(measured.folder.parent, "rows", [measured.folder.name, length], pack)
        self._pieces, self._starts = (
            np.load(folder / f"{array}.npy", mmap_mode="r") for array in _ARRAYS
        )
        self.records = int(np.count_nonzero(tokens)) + len(self.skips)
        gone_on = np.count_nonzero(self._pieces["begin"])  # each with a <bos> of its own
        self._tokens = int(tokens.sum(dtype=np.int64)) + gone_on
        self._condition = int(measured.condition[tokens > 0].sum(dtype=np.int64))

    @property
    def rows(self) -> int:
        return len(self._starts) - 1

    def tokens_a_row(self, *, dropout: float) -> float:
        left_out = dropout * self.reader.conditioned * self._condition
        return (self._tokens - left_out) / self.rows

    def documents(
        self, row: int, rng: np.random.Generator, stage: Stage
    ) -> tuple[list[Document], list[Skip]]:
        documents: list[Document] = []
        skips: list[Skip] = []
        for piece in self._pieces[self._starts[row] : self._starts[row + 1]]:
            number, begin, end = (int(value) for value in piece)
            try:
                documents.append(self._document(number, begin, end, rng.spawn(1)[0], stage))
            except (BadRecord, SampleError) as error:
                place = self.reader.place(number)
                skips.append(Skip(source=self.name, place=place, reason=str(error)))
        return documents, skips

    def _document(
        self, number: int, begin: int, end: int, rng: np.random.Generator, stage: Stage
    ) -> Document:
        record = self.reader.read(number)
        assert record is not None  # nothing else is in a row
        shown = Shown(
            pictures=self.pictures,
            latents=self._latents(number, record, begin, end),
            rng=rng,
            stage=stage,
        )
        document = self.reader.document(record, self.tokenizer, shown, begin=begin, end=end)
        if document_length(document) > self._room(number, begin, end):
            raise BadRecord("takes more tokens than when it was measured")
        return document

    def _room(self, number: int, begin: int, end: int) -> int:
        """Tokens of a piece as they were measured."""
        missing = int(self._pictures[number]) - (end - begin)
        first = int(self._lengths[number]) - missing * self._frame
        return first if begin == 0 else 1 + (end - begin) * self._frame

    def _latents(self, number: int, record: Record, begin: int, end: int) -> Sequence[Latents]:
        """Of pictures `begin` to before `end`."""
        if self.cached is not None:
            return [self.cached.latents(number, picture) for picture in range(begin, end)]
        return [self.pictures.latents(pixels) for pixels in record.load(begin, end)]
