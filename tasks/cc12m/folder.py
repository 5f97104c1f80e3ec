"""Pictures and their captions in a folder of the user."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import Picture, UserError, decode_picture

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLES = ("captions.jsonl", "metadata.jsonl", "captions.csv", "metadata.csv")
_NAME_KEYS = ("file_name", "image")
_CAPTION_KEYS = ("caption", "text")
CAPTIONS = (
    "Write each caption into a .txt file of the picture's name beside it, or all of them into "
    'captions.jsonl: {"file_name": "a.png", "caption": "…"}; a file_name is relative to the '
    "folder. Repair other pictures, or take them out."
)
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Captioned:
    """A picture file, its name within the folder, the SHA-256 of its bytes, and its caption. One
    that cannot be used has a `fault`, which says why."""

    file: Path
    name: str
    sha256: str
    caption: str
    fault: str = ""

    def picture(self) -> Picture:
        return Picture(path=self.file)


def read_folder(folder: Path, *, setting: str = "cc12m.path") -> list[Captioned]:
    """`scan_folder` where every picture must be usable. Raises UserError listing those that are
    not."""
    found = scan_folder(folder, setting=setting)
    faults = [picture.fault for picture in found if picture.fault]
    if faults:
        raise UserError(
            f"{folder}: {len(faults)} pictures cannot be used\n  " + "\n  ".join(first(faults)),
            fix=CAPTIONS,
        )
    return found


def scan_folder(folder: Path, *, setting: str = "cc12m.path") -> list[Captioned]:
    """Every picture in `folder` and below, by name, with its caption.

    A caption stands in a table (`captions.jsonl`, `metadata.csv`, …: `file_name` and `caption`) at
    the top of the folder, or in a `.txt` file beside the picture and of its name. All pictures are
    decoded once. A picture that does not decode or has no caption has a fault, and so has a caption
    whose picture is not there. `setting` is what named the folder. Raises UserError when there is
    no picture at all, or a table cannot be read.
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
    table = _read_tables(folder)
    found = [_captioned(file, file.relative_to(folder).as_posix(), table) for file in files]
    names = {picture.name for picture in found}
    return found + [
        Captioned(
            file=folder / name,
            name=name,
            sha256="",
            caption=table[name],
            fault=f"{name}: has a caption and is not there",
        )
        for name in sorted(set(table) - names)
    ]


def _captioned(file: Path, name: str, table: Mapping[str, str]) -> Captioned:
    sha256 = caption = fault = ""
    try:
        data = file.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        decode_picture(data, name=name)
        caption = table.get(name) or _sidecar(file)
        fault = "" if caption else f"{name}: has no caption"
    except OSError as error:
        fault = f"{name}: cannot be read ({error.strerror})"
    except UserError as error:
        fault = error.what if error.what.startswith(name) else f"{name}: {error.what}"
    return Captioned(file=file, name=name, sha256=sha256, caption=caption, fault=fault)


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
        raise UserError(f"{path.name} is not UTF-8 text (byte {error.start:,})") from error


def first(names: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [*names[:_SHOWN], *more]
