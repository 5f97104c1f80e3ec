"""A user's text, cut into the pieces that are scored one by one.

A record of a JSONL file is one piece. A plain file is one piece if it is short; a longer one is cut
into passages of about a window's size, at blank lines where there are any, so that its number has
an error bar. The passages of a file, put together, are the file: every byte is scored once.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError

PLAIN = (".txt", ".text", ".md")
RECORDS = (".jsonl", ".ndjson")


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Bytes `start` to `end` of a file; `record` tells that they are a line of JSONL.

    `name` is the file relative to the corpus and `digest` the SHA-256 of the text, so equal corpora
    in different places have equal passages. What is no text has a `fault` that names it, and the
    digest of its bytes.
    """

    file: Path
    name: str
    start: int
    end: int
    record: bool
    digest: str
    source: str = ""
    fault: str = ""

    @property
    def key(self) -> str:
        return f"{self.name}@{self.start}"

    @property
    def inputs(self) -> Mapping[str, Any]:
        found = {
            "file": self.name,
            "start": self.start,
            "end": self.end,
            "sha256": self.digest,
            "source": self.source,
        }
        return found | ({"fault": self.fault} if self.fault else {})

    def text(self) -> str:
        """The text, read again. Raises UserError if it is no longer what it was."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                data = stream.read(self.end - self.start)
            text = parse_record(data)[0] if self.record else data.decode("utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{self.file} cannot be read any more: {error}") from error
        if text_digest(text) != self.digest:
            raise UserError(
                f"{self.file} has changed since this run began",
                fix="put the file back, or begin a new run with another --output",
            )
        return text


def read_corpus(path: Path, *, passage_bytes: int, setting: str = "text.path") -> list[Passage]:
    """All passages of a file, or of the text and JSONL files in a folder, in a fixed order.

    A file or a record that is empty, not UTF-8 or no record is a passage with a fault. Raises
    UserError when there is no file, or one cannot be read; `setting` is what named the path.
    """
    if not path.exists():
        raise UserError(
            f"{path} does not exist", fix=f"--set {setting}=FILE (or a folder of files)"
        )
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PLAIN + RECORDS)
        if not files:
            raise UserError(
                f"{path} holds no text: none of its files ends in {', '.join(PLAIN + RECORDS)}",
                fix=f"--set {setting}=FILE names a single file, whatever its ending",
            )
    else:
        files = [path]
    passages: list[Passage] = []
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        if file.suffix.lower() in RECORDS:
            passages += _read_records(file, name)
        else:
            passages += _read_plain(file, name, passage_bytes)
    return passages


def _read_plain(file: Path, name: str, passage_bytes: int) -> Iterator[Passage]:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    fault = ""
    try:
        if not data.decode("utf-8").strip():
            fault = f"{name} is empty: there is nothing to score"
    except UnicodeDecodeError as error:
        fault = f"{name} is not UTF-8 text (byte {error.start:,})"
    for start, end in [(0, len(data))] if fault else cut(data, passage_bytes):
        yield Passage(
            file=file,
            name=name,
            start=start,
            end=end,
            record=False,
            digest=_hash(data[start:end]),
            fault=fault,
        )


def _read_records(file: Path, name: str) -> Iterator[Passage]:
    found = False
    start = 0
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                end = start + len(line)
                if line.strip():
                    found = True
                    yield _read_record(file, name, start, line, number)
                start = end
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if not found:
        yield Passage(
            file=file,
            name=name,
            start=0,
            end=start,
            record=True,
            digest=_hash(b""),
            fault=f"{name} is empty: there is nothing to score",
        )


def _read_record(file: Path, name: str, start: int, line: bytes, number: int) -> Passage:
    text = source = fault = ""
    try:
        text, source = parse_record(line)
    except ValueError as error:
        fault = f"{name}, line {number:,}: {error}"
    return Passage(
        file=file,
        name=name,
        start=start,
        end=start + len(line),
        record=True,
        digest=_hash(line) if fault else text_digest(text),
        source=source,
        fault=fault,
    )


def parse_record(line: bytes) -> tuple[str, str]:
    """(text, source) of a line of JSONL. Raises ValueError saying what is wrong with it."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start:,} of the line)") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("not JSON (nested too deeply)") from error
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    text = record.get("text")
    if not isinstance(text, str):
        raise ValueError('no string "text"')
    if not text.strip():
        raise ValueError('its "text" is empty')
    source = str(record.get("source", ""))
    try:
        (text + source).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a character ({error.reason})") from error
    return text, source


def cut(data: bytes, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `size` bytes that together are `data` (UTF-8).

    Each ends after the last blank line in its second half, or else the last line end, space, or
    character there.
    """
    start = 0
    while len(data) - start > size:
        middle, limit = start + size // 2, start + size
        for mark in (b"\n\n", b"\r\n\r\n", b"\n", b" "):
            at = data.rfind(mark, middle, limit)
            if at >= 0:
                end = at + len(mark)
                break
        else:
            end = limit
            while data[end] & 0xC0 == 0x80:  # inside a character
                end -= 1
        yield start, end
        start = end
    if start < len(data):
        yield start, len(data)


def text_digest(text: str) -> str:
    """What tells a text from others."""
    return _hash(text.encode("utf-8"))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
