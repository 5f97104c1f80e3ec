"""Video annotated with actions (paper, appendix G.3): what `unimm-train annotate-actions` writes.

A line is `{"before": [NAMES], "action": TEXT, "after": [NAMES]}` with 1 to 4 frames on either side.
With `vary` a row is given fewer of them, drawn once for each row: the last before the action and
the first behind it.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from unimm_eval.model.sequence import Document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.files import find_files
from unimm_eval.train.data.frames import SPECIAL, transition_document
from unimm_eval.train.data.lines import Lines, index_lines, text_of
from unimm_eval.train.data.pixels import loader
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.schema import ActionsSource
from unimm_eval.train.data.show import Shown
from unimm_eval.train.tools.actions import frames_of


class Actions(Records):
    """The lines of JSONL files."""

    def __init__(self, spec: ActionsSource, files: Sequence[Path], folder: Path) -> None:
        self._lines, self._vary = Lines(files, folder), spec.vary
        self._images = Path(spec.images).expanduser() if spec.images is not None else None

    @staticmethod
    def files(spec: ActionsSource, name: str) -> list[Path]:
        return find_files(spec.path, source=name, suffixes=(".jsonl",))

    @staticmethod
    def index(spec: ActionsSource, files: Sequence[Path], folder: Path) -> None:
        index_lines(files, folder)

    def __len__(self) -> int:
        return len(self._lines)

    def place(self, number: int) -> str:
        return self._lines.place(number)

    def read(self, number: int) -> Record | None:
        fields = self._lines.object(number)
        if fields is None:
            return None
        action = " ".join(text_of(fields, "action").split())
        try:
            frames = frames_of(fields)
        except ValueError as error:
            raise BadRecord(str(error)) from error
        before, after = frames.before, frames.after
        if self._vary:
            first, second = _drawn(number)
            before = before[-1 - first % len(before) :]
            after = after[: 1 + second % len(after)]
        names = [*before, *after]
        return Record(
            texts=[action],
            pictures=len(names),
            special=SPECIAL + 2 * len(names),
            load=loader(self._images or self._lines.file(number).parent, names),
            condition=len(before),
        )

    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        assert record.condition is not None
        return transition_document(
            tokenizer,
            shown,
            context=record.condition,
            results=record.pictures - record.condition,
            action=record.texts[0],
        )


def _drawn(number: int) -> tuple[int, int]:
    """Two random numbers of a row, the same in each epoch and in each run."""
    digest = hashlib.sha256(str(number).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")
