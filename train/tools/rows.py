"""Rows of a data set: lines of a JSONL file, pictures of a folder, frames of a folder.

A row's id is a hash of what it says and of how many equal rows stand before it, so adding, removing
or moving rows changes no other row's id. A picture is known by its name, not by its content.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from unimm_eval.api import Picture, UserError
from unimm_eval.train.tools.skipped import Skipped

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLES = ("captions.jsonl", "metadata.jsonl")
NAME_KEYS = ("file_name", "image")
CAPTION_KEYS = ("caption", "text")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: `place` names it to the user, `fields` is what it says."""

    id: str
    place: str
    fields: Mapping[str, Any]


Fields = Mapping[str, Any] | str
"""What a row says, or why it says nothing."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a source, read anew each time. Pictures are named relative to `root`."""

    root: Path
    read: Callable[[], Iterator[tuple[str, Fields]]]

    def parsed(
        self, parse: Callable[[Mapping[str, Any]], T], skipped: Skipped
    ) -> Iterator[tuple[str, Mapping[str, Any], T]]:
        """Place, fields and what `parse` makes of them, in order. It raises ValueError where a row
        cannot be used; that row is skipped."""
        for place, fields in self.read():
            if isinstance(fields, str):
                skipped.add(place, fields)
                continue
            try:
                parsed = parse(fields)
            except ValueError as error:
                skipped.add(place, str(error))
            else:
                yield place, fields, parsed

    def usable(
        self, parse: Callable[[Mapping[str, Any]], T], skipped: Skipped
    ) -> Iterator[tuple[Row, T]]:
        """`parsed`, as rows with ids."""
        seen: Counter[bytes] = Counter()
        for place, fields, parsed in self.parsed(parse, skipped):
            content = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).digest()[:12]
            yield Row(id=f"{content.hex()}-{seen[content]}", place=place, fields=fields), parsed
            seen[content] += 1

    def picture(self, name: str) -> Picture:
        return Picture(path=self.root / name)


def captioned_rows(source: Path) -> Rows:
    """A JSONL file, or a folder with every picture in it and below.

    A picture's caption stands in a `.txt` file beside it or in `captions.jsonl` or
    `metadata.jsonl` at the top. Raises UserError when there is nothing to read.
    """
    if not source.is_dir():
        return _jsonl(source)
    files = _pictures(source)
    captions, faults = _captions(source)
    names = {_name(source, file) for file in files}

    def read() -> Iterator[tuple[str, Fields]]:
        yield from faults
        for file in files:
            name = _name(source, file)
            try:
                caption = captions.get(name) or _sidecar(file)
            except ValueError as error:
                yield name, str(error)
            else:
                yield name, {"file_name": name, **({"caption": caption} if caption else {})}
        yield from ((name, "its picture is not there") for name in sorted(set(captions) - names))

    return Rows(root=source, read=read)


def transition_rows(source: Path, *, frames: int) -> Rows:
    """A JSONL file whose rows name frames `before` and `after`, or a folder of frames.

    In a folder, the pictures that lie together are a clip, ordered by name (2 before 10). It is cut
    into chunks of `frames` frames, and each chunk and the next are a row.
    """
    if not source.is_dir():
        return _jsonl(source)
    clips: dict[Path, list[str]] = {}
    for file in _pictures(source):
        clips.setdefault(file.parent, []).append(_name(source, file))

    def read() -> Iterator[tuple[str, Fields]]:
        for names in clips.values():
            names = sorted(names, key=_natural)
            for at in range(0, len(names) - 2 * frames + 1, frames):
                before, after = names[at : at + frames], names[at + frames : at + 2 * frames]
                yield f"{before[0]} → {after[-1]}", {"before": before, "after": after}

    return Rows(root=source, read=read)


def check_rows(
    source: Path, rows: Rows, parse: Callable[[Mapping[str, Any]], object], skipped: Skipped
) -> int:
    """How many rows there are, after looking at each. Raises UserError when none can be used, or
    too few."""
    usable = sum(1 for _ in rows.usable(parse, skipped))
    total = usable + len(skipped.reasons)
    if not usable:
        raise UserError(f"{source} holds no row that can be used.\n{skipped.first()}".rstrip())
    skipped.check(rows=total)
    return total


def caption_of(fields: Mapping[str, Any]) -> str:
    """The caption, or the text, of a row. Raises ValueError without one."""
    key = next((key for key in CAPTION_KEYS if key in fields), None)
    if key is None:
        raise ValueError(f"has no {' or '.join(CAPTION_KEYS)}")
    if not isinstance(fields[key], str):
        raise ValueError(f"its {key} is no text")
    return plain(fields[key])


def picture_of(fields: Mapping[str, Any]) -> str:
    """The name of a row's picture. Raises ValueError without one."""
    key = next((key for key in NAME_KEYS if key in fields), None)
    if key is None:
        raise ValueError(f"has no {' or '.join(NAME_KEYS)}")
    return file_name(fields[key])


def file_name(value: object) -> str:
    """`value`, if it can name a file. Raises ValueError."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{value!r:.80} is not the name of a file")
    return value


def plain(text: str) -> str:
    """Text without space around it. Raises ValueError where none is left or it is no Unicode."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character (a lone surrogate)") from error
    return text


def _jsonl(path: Path) -> Rows:
    if not path.is_file():
        raise UserError(f"{path} is not there.", fix="Name a JSONL file, or a folder of pictures.")

    def read() -> Iterator[tuple[str, Fields]]:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield f"{path.name}, line {number}", _object(line)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error

    return Rows(root=path.parent, read=read)


def _object(line: bytes) -> Fields:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start:,})"
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg})"
    except RecursionError:
        return "not JSON that can be read (nested too deeply)"
    return value if isinstance(value, dict) else "not a JSON object"


def _pictures(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    if not found:
        raise UserError(
            f"{folder} holds no pictures: no file ends in {', '.join(PICTURES)}.",
            fix="Name a folder of pictures, or a JSONL file.",
        )
    return found


def _name(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _captions(folder: Path) -> tuple[dict[str, str], list[tuple[str, Fields]]]:
    """Captions by name from the tables of a folder, and the rows that are none."""
    captions: dict[str, str] = {}
    faults: list[tuple[str, Fields]] = []
    for path in (folder / name for name in TABLES if (folder / name).is_file()):
        for place, fields in _jsonl(path).read():
            try:
                if isinstance(fields, str):
                    raise ValueError(fields)
                captions[Path(picture_of(fields)).as_posix()] = caption_of(fields)
            except ValueError as error:
                faults.append((place, str(error)))
    return captions, faults


def _sidecar(file: Path) -> str:
    """The text beside a picture; empty without one. Raises ValueError."""
    beside = file.with_suffix(".txt")
    try:
        return beside.read_bytes().decode("utf-8-sig").strip() if beside.is_file() else ""
    except OSError as error:
        raise ValueError(f"{beside.name} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{beside.name} is not UTF-8 (byte {error.start:,})") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Digits as numbers, so that frame 2 comes before frame 10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)]
