"""Texts as one long sequence of tokens, written once and read by place.

Each text is `<bos> text <eos>`. Row r is the tokens from r·length on, whatever texts they are of:
one that is cut goes on in the next row, as a document of its own. Nothing is padded but the end.
"""

import json
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

import numpy as np

from unimm_eval.model.sequence import Document, TextSegment
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord, Skip
from unimm_eval.train.data.schema import TextSource
from unimm_eval.train.data.store import kept
from unimm_eval.train.data.texts import Part, parts_of, text_in
from unimm_eval.train.recipe import Stage

_CHUNK = 1000
_SKIPPED = "skipped.jsonl"


class PackedTexts:
    """The texts of a source in rows of `length` tokens."""

    def __init__(
        self, name: str, spec: TextSource, *, tokenizer: Tokenizer, cache: Path, length: int
    ) -> None:
        """Tokenises what is not in `cache` yet. Raises UserError."""
        self.length = length
        self.skips: list[Skip] = []
        self._tokens: list[np.memmap] = []
        self._starts: list[np.ndarray] = []
        for part in parts_of(spec, name):
            key = [part.key, spec.field, tokenizer.fingerprint]

            def build(folder: Path, part: Part = part) -> None:
                tokenise(part, folder, field=spec.field, tokenizer=tokenizer)

            folder = kept(cache, "text", key, build)
            starts = np.load(folder / "starts.npy", mmap_mode="r")
            for line in (folder / _SKIPPED).read_text(encoding="utf-8").splitlines():
                self.skips.append(Skip(**{**json.loads(line), "source": name}))
            if len(starts) > 1:
                tokens = np.memmap(folder / "tokens.bin", dtype=_dtype(tokenizer), mode="r")
                self._tokens.append(tokens)
                self._starts.append(starts)
        self._first = np.cumsum([0, *map(len, self._tokens)])
        self.records = sum(len(starts) - 1 for starts in self._starts) + len(self.skips)

    @property
    def rows(self) -> int:
        return -(-int(self._first[-1]) // self.length)

    def tokens_a_row(self, *, dropout: float) -> float:
        return int(self._first[-1]) / self.rows

    def documents(
        self, row: int, rng: np.random.Generator, stage: Stage
    ) -> tuple[list[Document], list[Skip]]:
        documents: list[Document] = []
        at = row * self.length
        stop = min(at + self.length, int(self._first[-1]))
        while at < stop:
            part = int(np.searchsorted(self._first, at, side="right")) - 1
            begin, starts = at - int(self._first[part]), self._starts[part]
            end = int(starts[int(np.searchsorted(starts, begin, side="right"))])
            end = min(end, begin + stop - at)
            documents.append([TextSegment(ids=self._tokens[part][begin:end].tolist())])
            at += end - begin
        return documents, []


def tokenise(part: Part, folder: Path, *, field: str, tokenizer: Tokenizer) -> None:
    """Write the tokens of a part, where each text begins, and what was left out. Raises
    UserError."""
    starts, at = [0], 0
    rows = part.rows()
    with (
        open(folder / "tokens.bin", "wb") as file,
        open(folder / _SKIPPED, "w", encoding="utf-8") as skipped,
    ):
        while chunk := list(islice(rows, _CHUNK)):
            texts = []
            for place, fields in chunk:
                try:
                    texts.append(text_in(fields, field))
                except BadRecord as error:
                    skip = Skip(source="", place=place, reason=str(error))
                    skipped.write(json.dumps(asdict(skip), ensure_ascii=False) + "\n")
            ids = [[tokenizer.bos, *one, tokenizer.eos] for one in tokenizer.encode_all(texts)]
            np.fromiter(chain.from_iterable(ids), dtype=_dtype(tokenizer)).tofile(file)
            for one in ids:
                at += len(one)
                starts.append(at)
    np.save(folder / "starts.npy", np.array(starts, dtype=np.int64))


def _dtype(tokenizer: Tokenizer) -> np.dtype:
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)
