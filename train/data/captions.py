"""Pictures with captions: to be drawn from their captions, or told in words.

Which of the two a pair is for is drawn anew each time that it is seen, in the shares of the recipe.
"""

from collections.abc import Sequence
from pathlib import Path

from unimm_eval.model.sequence import Document, caption_document, describe_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.pairs import index_pairs, open_pairs, pair_files
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.schema import CaptionsSource
from unimm_eval.train.data.show import Shown

_SPECIAL = 4  # <bos>, <boi>, <eoi> and <eos>


class Captions(Records):
    """One picture and one text a record."""

    def __init__(self, spec: CaptionsSource, files: Sequence[Path], folder: Path) -> None:
        self._drawn = spec.drawn_share
        self._pairs = open_pairs(spec, files, folder)

    @staticmethod
    def files(spec: CaptionsSource, name: str) -> list[Path]:
        return pair_files(spec, name)

    @staticmethod
    def index(spec: CaptionsSource, files: Sequence[Path], folder: Path) -> None:
        index_pairs(files, folder)

    def __len__(self) -> int:
        return len(self._pairs)

    def place(self, number: int) -> str:
        return self._pairs.place(number)

    def read(self, number: int) -> Record | None:
        pair = self._pairs.read(number)
        if pair is None:
            return None
        return Record(
            texts=[pair.caption], pictures=1, special=_SPECIAL, load=pair.load, condition=0
        )

    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        (caption,) = record.texts
        if shown.rng.random() < self._drawn:
            left_out = shown.left_out()
            picture = shown.noised(0)
            return caption_document(tokenizer, None if left_out else caption, picture)
        return describe_document(tokenizer, caption, shown.context(0))

    @property
    def conditioned(self) -> float:
        return self._drawn
