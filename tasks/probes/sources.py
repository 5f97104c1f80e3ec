"""Labelled pictures: folders of classes, or a data set of the Hugging Face library on disk.

Nothing is decoded here but what is hashed: a picture is opened when it is shown to the model.
"""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unimm_eval.api import Picture, UserError, decode_picture
from unimm_eval.tasks.cc12m.folder import PICTURES

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of splits that are understood, by what they are."""
_STATE_FILES = ("dataset_dict.json", "state.json")
_HASHED_AT_ONCE = 8
LAYOUT = (
    "A picture lies in a folder named after its class (FOLDER/ring/a.png), with splits above that "
    "(FOLDER/train/ring/a.png) if there are any; or name a data set of the Hugging Face library, "
    "saved with save_to_disk or as the parquet files of the hub."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A picture with its class. `split` is "train", "val", "test", or empty where the source has
    none; `where` is the folder of its class, or what stands for it in a data set."""

    name: str
    label: str
    split: str
    where: str
    sha256: str
    file: Path | None = None
    rows: Any = None
    row: int = 0

    def picture(self) -> Picture:
        """Raises PictureError."""
        if self.file is not None:
            return Picture(path=self.file)
        return Picture(array=decode_picture(_bytes_of(self.rows[self.row]), name=self.name))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Labelled pictures and all classes in the order of their source."""

    pictures: tuple[Labelled, ...]
    classes: tuple[str, ...]

    @cached_property
    def number(self) -> Mapping[str, int]:
        """Of a class, by its name."""
        return {name: index for index, name in enumerate(self.classes)}


def read_source(path: Path, *, setting: str, label_column: str | None, cache: Path) -> Source:
    """Whatever lies at `path`; `cache` is where parquet files are unpacked to. Raises UserError
    naming the `setting` where it is nothing that can be read."""
    if not path.is_dir():
        raise UserError(
            f"{path} is not a folder of labelled pictures.",
            fix=f"--set {setting}=FOLDER names one. {LAYOUT}",
        )
    if any((path / name).is_file() for name in _STATE_FILES):
        return _read_data_set(_saved(path), path, setting=setting, label_column=label_column)
    if files := sorted(path.rglob("*.parquet")):
        found = _unpacked(files, cache)
        return _read_data_set(found, path, setting=setting, label_column=label_column)
    return _read_folder(path, setting=setting)


def _read_folder(path: Path, *, setting: str) -> Source:
    tops = _folders(path)
    splits = {top: _SPLITS[top.name.lower()] for top in tops if top.name.lower() in _SPLITS}
    has_splits = "train" in splits.values() and all(_folders(top) for top in splits)
    found = [
        Labelled(
            name=file.relative_to(path).as_posix(),
            label=folder.name,
            split=split,
            where=str(folder),
            sha256="",
            file=file,
        )
        for top, split in (splits.items() if has_splits else [(path, "")])
        for folder in _folders(top)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in PICTURES and file.is_file()
    ]
    if not found:
        raise UserError(
            f"{path} holds no folders of pictures, one for each class.",
            fix=f"--set {setting}=FOLDER names one. {LAYOUT}",
        )
    with ThreadPoolExecutor(_HASHED_AT_ONCE) as pool:
        hashes = pool.map(_sha256, (picture.file for picture in found))
        pictures = tuple(
            replace(picture, sha256=digest) for picture, digest in zip(found, hashes, strict=True)
        )
    return Source(pictures=pictures, classes=tuple(sorted({one.label for one in pictures})))


def _folders(path: Path) -> list[Path]:
    return sorted(
        entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _sha256(file: Path | None) -> str:
    assert file is not None
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error


def _saved(path: Path) -> Any:
    from datasets import load_from_disk

    try:
        return load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no data set that can be opened: {error}") from error


def _unpacked(files: list[Path], cache: Path) -> Any:
    """Parquet files of the hub, whose names begin with their split, as a data set."""
    from datasets import load_dataset

    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(file.name.partition("-")[0].partition(".")[0], []).append(str(file))
    try:
        return load_dataset("parquet", data_files=by_split, cache_dir=str(cache))
    except (OSError, ValueError) as error:
        raise UserError(f"{files[0]} and others cannot be opened: {error}") from error


def _read_data_set(found: Any, path: Path, *, setting: str, label_column: str | None) -> Source:
    from datasets import DatasetDict

    parts = dict(found) if isinstance(found, DatasetDict) else {"": found}
    splits = {name: _SPLITS.get(name.lower(), "") for name in parts}
    if len(parts) > 1 or any(splits.values()):
        parts = {name: part for name, part in parts.items() if splits[name]}
    pictures: list[Labelled] = []
    classes: tuple[str, ...] = ()
    for name, part in parts.items():
        image, label = _columns(part, path, setting=setting, label_column=label_column)
        names = getattr(part.features[label], "names", None)
        pictures += _labelled(part, image, label, names, split=splits[name], name=name, path=path)
        classes = tuple(names) if names else classes
    if not pictures:
        raise UserError(f"{path} holds no picture with a label.", fix=LAYOUT)
    return Source(
        pictures=tuple(pictures),
        classes=classes or tuple(sorted({one.label for one in pictures})),
    )


def _columns(part: Any, path: Path, *, setting: str, label_column: str | None) -> tuple[str, str]:
    """Names of the columns of pictures and of labels."""
    from datasets import ClassLabel, Image

    features = part.features
    images = [name for name, kind in features.items() if isinstance(kind, Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    labels = labels or [name for name in ("label", "labels", "class") if name in features]
    labels = [label_column] if label_column in features else [] if label_column else labels
    if len(labels) != 1 or not images:
        task = setting.rpartition(".")[0]
        raise UserError(
            f"{path}: of its columns {', '.join(features)} "
            + ("none holds pictures." if not images else "it is not plain which is the label."),
            fix=f"--set {task}.label_column=NAME names the label's.",
        )
    return images[0], labels[0]


def _labelled(
    part: Any,
    image: str,
    label: str,
    names: Any,
    *,
    split: str,
    name: str,
    path: Path,
) -> Iterator[Labelled]:
    """Rows that have a label: test sets of competitions are published with −1."""
    from datasets import Image

    rows = part.select_columns([image, label]).cast_column(image, Image(decode=False))
    rows = rows.rename_column(image, "image") if image != "image" else rows
    for index, row in enumerate(rows):
        value = row[label]
        if value is None or (isinstance(value, int) and value < 0):
            continue
        text = names[value] if names else str(value)
        yield Labelled(
            name=f"{name or 'row'}/{index}",
            label=text,
            split=split,
            where=f"{path}, {name or 'all rows'}, class {text}",
            sha256=hashlib.sha256(_bytes_of(row)).hexdigest(),
            rows=rows,
            row=index,
        )


def _bytes_of(row: Mapping[str, Any]) -> bytes:
    """Of a picture that lies in the data set, or in a file that it names. Raises UserError."""
    value = row["image"]
    if value["bytes"] is not None:
        return bytes(value["bytes"])
    try:
        return Path(value["path"]).read_bytes()
    except OSError as error:
        raise UserError(f"{value['path']} cannot be read: {error.strerror}.") from error
