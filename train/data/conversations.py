"""Questions about pictures and their answers, in the files of LLaVA and Cambrian.

A line is `{"image": NAME, "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}`;
without a picture `image` is absent, empty, "None" or "nan". The template is the one that
checkpoints of ours are asked by: the picture first, wherever `<image>` stands, then the turns; only
answers and the tokens that end them are trained on (paper, appendix E.6).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unimm_eval.model.sequence import Document, chat_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.files import find_files
from unimm_eval.train.data.lines import Lines, index_lines
from unimm_eval.train.data.pixels import file_name, loader
from unimm_eval.train.data.records import Record, Records
from unimm_eval.train.data.schema import ConversationsSource
from unimm_eval.train.data.show import Shown

MARK = "<image>"
_NO_PICTURE = (None, "", "None", "nan")


class Conversations(Records):
    """The lines of JSONL files, through an index of where they begin."""

    def __init__(self, spec: ConversationsSource, files: Sequence[Path], folder: Path) -> None:
        self._lines = Lines(files, folder)
        self._images = Path(spec.images).expanduser() if spec.images is not None else None

    @staticmethod
    def files(spec: ConversationsSource, name: str) -> list[Path]:
        return find_files(spec.path, source=name, suffixes=(".jsonl",))

    @staticmethod
    def index(spec: ConversationsSource, files: Sequence[Path], folder: Path) -> None:
        index_lines(files, folder)

    def __len__(self) -> int:
        return len(self._lines)

    def place(self, number: int) -> str:
        return self._lines.place(number)

    def read(self, number: int) -> Record | None:
        fields = self._lines.object(number)
        if fields is None:
            return None
        names = _pictures(fields)
        turns = _turns(fields, pictures=len(names))
        return Record(
            texts=[text for turn in turns for text in turn],
            pictures=len(names),
            special=1 + 2 * len(names),
            turns=len(turns),
            load=loader(self._images or self._lines.file(number).parent, names),
        )

    def document(
        self, record: Record, tokenizer: Tokenizer, shown: Shown, *, begin: int, end: int
    ) -> Document:
        turns = list(zip(record.texts[::2], record.texts[1::2], strict=True))
        picture = shown.clean(0) if record.pictures else None
        weight = shown.stage.answer_weight
        return chat_document(tokenizer, picture, turns, answer_weight=weight)


def _pictures(fields: dict[str, Any]) -> list[str]:
    """Names of the pictures of a row: one or none. Raises BadRecord."""
    value = fields.get("image")
    if isinstance(value, list):
        if len(value) > 1:
            raise BadRecord(f"has {len(value)} pictures, and one at most is known what to do with")
        value = value[0] if value else None
    if value in _NO_PICTURE or value != value:  # NaN
        return []
    return [file_name(value)]


def _turns(fields: dict[str, Any], *, pictures: int) -> list[tuple[str, str]]:
    """(question, answer) of each turn, without the mark of the picture. Raises BadRecord."""
    said = fields.get("conversations")
    if not isinstance(said, list) or not said:
        raise BadRecord("has no conversations")
    values: list[str] = []
    for number, part in enumerate(said):
        if not isinstance(part, dict) or not isinstance(part.get("value"), str):
            raise BadRecord(f"part {number + 1} of its conversation is no text")
        if part.get("from") != ("human", "gpt")[number % 2]:
            raise BadRecord(
                f"part {number + 1} of its conversation is from {part.get('from')!r:.40}; "
                "human and gpt take turns"
            )
        values.append(part["value"])
    if len(values) % 2:
        raise BadRecord("its last question has no answer")
    if (marks := sum(value.count(MARK) for value in values)) > pictures:
        raise BadRecord(f"has {marks} × {MARK} and {pictures} pictures")
    turns = [
        (question.replace(MARK, "").strip(), answer.strip())
        for question, answer in zip(values[::2], values[1::2], strict=True)
    ]
    if not all(answer for _, answer in turns):
        raise BadRecord("has an empty answer: nothing to be trained on")
    return turns
