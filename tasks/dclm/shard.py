"""Documents of a shard of web text: JSON lines, plain or packed."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.tasks.text.corpus import parse_record, text_digest


@dataclass(frozen=True, kw_only=True)
class ShardDocument:
    """Document `number` of a shard, from 1; its name is not that of the file, so that one shard has
    equal documents under any name, packed or not."""

    number: int
    content: str = ""
    source: str = ""
    fault: str = ""

    @property
    def key(self) -> str:
        return f"document {self.number}"

    @property
    def digest(self) -> str:
        return text_digest(self.fault or self.content)

    @property
    def inputs(self) -> Mapping[str, Any]:
        found = {"document": self.number, "sha256": self.digest, "source": self.source}
        return found | ({"fault": self.fault} if self.fault else {})

    def text(self) -> str:
        return self.content


def read_shard(path: Path, *, documents: int) -> list[ShardDocument]:
    """The first `documents` records. One that is no record has a fault, and the place where a shard
    ends before its time is one, too. Raises UserError for no such file, or one of nothing."""
    if not path.is_file():
        raise UserError(
            f"{path} is no file.",
            fix="--set dclm.path=SHARD names one: JSON lines, plain, .zst or .gz.",
        )
    found = list(islice(_documents(path), documents))
    if not found:
        raise UserError(f"{path} is empty: there is nothing to score.")
    return found


def _documents(path: Path) -> Iterator[ShardDocument]:
    import pyarrow as pa

    number = 0
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            for number, line in enumerate(_lines(stream), start=1):
                yield _document(number, line)
    except OSError as error:
        told = f"the shard ends early, behind document {number:,}: {error}"
        yield ShardDocument(number=number + 1, fault=told)


def _lines(stream: Any) -> Iterator[bytes]:
    return (line for line in io.BufferedReader(stream) if line.strip())


def _document(number: int, line: bytes) -> ShardDocument:
    try:
        text, source = parse_record(line)
    except ValueError as error:
        return ShardDocument(number=number, fault=f"document {number:,}: {error}")
    return ShardDocument(number=number, content=text, source=source)
