"""Pictures and their captions in a folder of the user."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import PictureError, UserError, decode_picture

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
_NAME_KEYS = ("file_name", "image")
_CAPTION_KEYS = ("caption", "text")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """A picture file, its name within the folder, the SHA-256 of its bytes, and its caption."""

    file: Path
    name: str
    sha256: str
    caption: str


def read_folder(folder: Path, *, setting: str = "cc12m.path") -> list[Captioned]:
    """Every picture in `folder` and below, by name, with its caption.

    A caption stands in a table (`captions.jsonl`, `metadata.csv`, …: `file_name` and `caption`) at
    the top of the folder, or in a `.txt` file beside the picture and of its name. All pictures are
    decoded once, so that a bad one is known before a model is loaded. `setting` is what named the
    folder. Raises UserError listing the pictures that have no caption or cannot be decoded.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder of pictures",
            fix=f"--set {setting}=FOLDER names one, with a caption for each picture",
        )
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    if not files:
        raise UserError(
            f"{folder} holds no pictures: no file ends in {', '.join(PICTURES)}",
            fix=f"--set {setting}=FOLDER names a folder of pictures",
        )
    names = [file.relative_to(folder).as_posix() for file in files]
    table = _read_tables(folder)
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise UserError(
            f"{folder}: captions are given for pictures that are not there: {_some(unknown)}",
            fix=f"a file_name is relative to the folder that is given as {setting}",
        )
    captions = [table.get(name) or _sidecar(file) for name, file in zip(names, files, strict=True)]
    missing = [name for name, caption in zip(names, captions, strict=True) if not caption]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} pictures have no caption: {_some(missing)}",
            fix="write each caption into a .txt file of the picture's name beside it, or all of "
            'them into captions.jsonl: {"file_name": "a.png", "caption": "…"}',
        )
    checked = [_check(file) for file in files]
    faults = [fault for _, fault in checked if fault]
    if faults:
        raise UserError(
            f"{len(faults)} pictures cannot be used\n  " + "\n  ".join(_first(faults)),
            fix="repair them or take them out of the folder",
        )
    return [
        Captioned(file=file, name=name, sha256=digest, caption=caption)
        for file, name, (digest, _), caption in zip(files, names, checked, captions, strict=True)
    ]


def _check(file: Path) -> tuple[str, str]:
    """(SHA-256 of the file, what is wrong with the picture or "")."""
    try:
        data = file.read_bytes()
        decode_picture(data, name=str(file))
    except OSError as error:
        return "", f"{file}: cannot be read ({error.strerror})"
    except PictureError as error:
        return "", error.what
    return hashlib.sha256(data).hexdigest(), ""


def _sidecar(file: Path) -> str:
    beside = file.with_suffix(".txt")
    return _text(beside).strip() if beside.is_file() else ""


def _read_tables(folder: Path) -> dict[str, str]:
    captions: dict[str, str] = {}
    for path in (folder / name for name in TABLES if (folder / name).is_file()):
        rows = _csv_rows(path) if path.suffix == ".csv" else _jsonl_rows(path)
        for place, row in rows:
            name = next((row[key] for key in _NAME_KEYS if row.get(key)), None)
            caption = next((row[key] for key in _CAPTION_KEYS if row.get(key)), None)
            if not isinstance(name, str) or not isinstance(caption, str) or not caption.strip():
                raise UserError(
                    f"{path}, {place}: not a file_name with a caption",
                    fix='every row needs both: {"file_name": "a.png", "caption": "…"}',
                )
            captions[Path(name).as_posix()] = caption.strip()
    return captions


def _jsonl_rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from error
            yield f"line {number}", row if isinstance(row, dict) else {}


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    reader = csv.DictReader(io.StringIO(_text(path)))
    for row in reader:
        yield f"line {reader.line_num}", dict(row)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start:,})") from error


def _some(names: list[str]) -> str:
    return ", ".join(_first(names))


def _first(names: list[str]) -> list[str]:
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [*names[:_SHOWN], *more]
