"""A user's text, cut into the pieces that are scored one by one.

A record of a JSONL file is one piece. A plain file is one piece if it is short; a longer one is cut
into passages of about a window's size, at blank lines where there are any, so that its number has
an error bar. The passages of a file, put together, are the file: every byte is scored once.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import UserError

PLAIN = (".txt", ".text", ".md")
RECORDS = (".jsonl", ".ndjson")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Bytes `start` to `end` of a file; `record` tells that they are a line of JSONL.

    `name` is the file relative to the corpus and `digest` the SHA-256 of the text, so equal corpora
    in different places have equal passages.
    """

    file: Path
    name: str
    start: int
    end: int
    record: bool
    digest: str
    source: str = ""

    def text(self) -> str:
        """The text, read again. Raises UserError if it is no longer what it was."""
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start)
                data = stream.read(self.end - self.start)
            text = _record(data)[0] if self.record else data.decode("utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{self.file} cannot be read any more: {error}") from error
        if _digest(text) != self.digest:
            raise UserError(
                f"{self.file} has changed since this run began",
                fix="put the file back, or begin a new run with another --output",
            )
        return text


def read_corpus(path: Path, *, passage_bytes: int) -> list[Passage]:
    """All passages of a file, or of the text and JSONL files in a folder, in a fixed order.

    Raises UserError, naming the file, for what is missing, empty, not UTF-8 or not a record.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist", fix="--set text.path=FILE (or a folder of files)")
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PLAIN + RECORDS)
        if not files:
            raise UserError(
                f"{path} holds no text: none of its files ends in {', '.join(PLAIN + RECORDS)}",
                fix="--set text.path=FILE names a single file, whatever its ending",
            )
    else:
        files = [path]
    passages: list[Passage] = []
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        reader = _read_records if file.suffix.lower() in RECORDS else _read_plain
        passages += reader(file, name, passage_bytes)
    return passages


def _read_plain(file: Path, name: str, passage_bytes: int) -> Iterator[Passage]:
    data = _read(file)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, f"byte {error.start:,}") from error
    if not text.strip():
        raise UserError(f"{file} is empty: there is nothing to score")
    for start, end in cut(data, passage_bytes):
        piece = data[start:end].decode("utf-8")
        yield Passage(
            file=file, name=name, start=start, end=end, record=False, digest=_digest(piece)
        )


def _read_records(file: Path, name: str, passage_bytes: int) -> Iterator[Passage]:
    faults: list[str] = []
    found = False
    start = 0
    for number, line in enumerate(_read(file).splitlines(keepends=True), start=1):
        end = start + len(line)
        if line.strip():
            found = True
            try:
                text, source = _record(line)
            except UnicodeDecodeError as error:
                raise _not_utf8(file, f"line {number}") from error
            except ValueError as error:
                faults.append(f"line {number}: {error}")
            else:
                yield Passage(
                    file=file,
                    name=name,
                    start=start,
                    end=end,
                    record=True,
                    digest=_digest(text),
                    source=source,
                )
        start = end
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise UserError(
            f"{file}: {len(faults)} records cannot be used\n  "
            + "\n  ".join([*faults[:_SHOWN], *more]),
            fix='every line must be a JSON object with a string "text" (and may have a "source")',
        )
    if not found:
        raise UserError(f"{file} is empty: there is nothing to score")


def _record(line: bytes) -> tuple[str, str]:
    """(text, source) of a line of JSONL. Raises ValueError saying what is wrong with it."""
    try:
        record = json.loads(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from error
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


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def _not_utf8(file: Path, where: str) -> UserError:
    return UserError(
        f"{file} is not UTF-8 text ({where})", fix="iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE"
    )
