"""How many tokens each record of a source takes, measured once and kept as memory-mapped arrays."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unimm_eval.model.chat import chat_template
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import BadRecord, Skip
from unimm_eval.train.data.records import Record, Records

_CHUNK = 1000
_SKIPPED = "skipped.jsonl"
_ARRAYS = ("tokens", "pictures", "condition")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of each record: its tokens [n], 0 where it is not used, its pictures [n], and how many of its
    tokens are a condition [n] that may be left out. `skips` are the bad ones. All of it is in
    `folder`."""

    folder: Path
    tokens: np.ndarray
    pictures: np.ndarray
    condition: np.ndarray
    skips: list[Skip]


def measure(
    records: Records, folder: Path, *, source: str, tokenizer: Tokenizer, picture_tokens: int
) -> None:
    """Read every record of a source, and write what `measured` reads into `folder`."""
    turn = chat_template(tokenizer).tokens_a_turn
    tokens, pictures, condition = np.zeros((3, len(records)), dtype=np.int32)
    with open(folder / _SKIPPED, "w", encoding="utf-8") as skipped:
        for begin in range(0, len(records), _CHUNK):
            read: dict[int, Record] = {}
            for number in range(begin, min(begin + _CHUNK, len(records))):
                try:
                    record = records.read(number)
                except BadRecord as error:
                    skip = Skip(source=source, place=records.place(number), reason=str(error))
                    skipped.write(json.dumps(asdict(skip), ensure_ascii=False) + "\n")
                else:
                    if record is not None:
                        read[number] = record
            texts = tokenizer.encode_all([text for one in read.values() for text in one.texts])
            lengths = iter(map(len, texts))
            for number, record in read.items():
                words = sum(next(lengths) for _ in record.texts)
                pictures[number] = record.pictures
                special = record.special + record.turns * turn
                tokens[number] = special + words + record.pictures * picture_tokens
                if record.condition is not None:
                    condition[number] = words + record.condition * (picture_tokens + 2)
    for name, values in zip(_ARRAYS, (tokens, pictures, condition), strict=True):
        np.save(folder / f"{name}.npy", values)


def measured(folder: Path, *, source: str) -> Measured:
    """What `measure` wrote; the source may have another name by now."""
    lines = (folder / _SKIPPED).read_text(encoding="utf-8").splitlines()
    return Measured(
        folder=folder,
        **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS},
        skips=[Skip(**{**json.loads(line), "source": source}) for line in lines],
    )
