"""Rows of a data set, on the hub at a resolved revision or on this machine, their pictures left
undecoded.

A row is a dict as the data set has it; a picture is what Arrow holds of it: `{"bytes", "path"}`, a
path beside the file, or a list of such. Nothing here knows a benchmark.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from unimm_eval.api import UserError
from unimm_eval.tasks.vqa16.revisions import Revision, resolve

_AT_ONCE = 64
_SUFFIXES = (".parquet", ".jsonl", ".csv")


class PictureTable(BaseModel):
    """Pictures that stand in a table of their own: column `key` there is `named_by` in a row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: str = Field(description="configuration of the same repository")
    key: str = Field(description="column that names a picture")
    named_by: str = Field(description="column of a question that names its picture")
    picture: str = Field(description="column that holds it")


class Source(BaseModel):
    """Where the rows of a benchmark come from: `data` of its card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repository: str = Field(description="data set on the hub")
    also: str | None = Field(None, description="where else the hub has it")
    config: str | None = Field(None, description="configuration of the data set")
    split: str = Field(description="split that is measured")
    columns: tuple[str, ...] = Field(description="columns that a row must have")
    picture: str = Field("image", description="column of the picture")
    pictures: PictureTable | None = Field(None, description="table of pictures, where it is apart")
    where: Mapping[str, Any] = Field(default_factory=dict, description="rows that belong to it")
    patterns: tuple[str, ...] = Field((), description="plain files that make the data set up")
    revision: str | None = Field(None, description="commit on the hub; none is pinned upstream")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by number; `folder` is what paths of pictures are relative to."""

    size: int
    columns: frozenset[str]
    fetch: Callable[[int, int], list[dict[str, Any]]]
    folder: Path | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, self.size, _AT_ONCE):
            yield from self.fetch(start, min(start + _AT_ONCE, self.size))

    def row(self, index: int) -> dict[str, Any]:
        return self.fetch(index, index + 1)[0]

    def picture_bytes(self, value: Any) -> bytes | None:
        """The file of a picture, or None where the row has none. Raises UserError for a path that
        cannot be read, TypeError for a value that is no picture."""
        if value is None or value == "":
            return None
        if isinstance(value, Mapping):
            data = value.get("bytes")
            return (
                self.picture_bytes(value.get("path")) if data is None else self.picture_bytes(data)
            )
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            path = Path(value) if self.folder is None else self.folder / value
            try:
                return path.read_bytes()
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}") from error
        raise TypeError(f"a {type(value).__name__} is no picture")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The table of questions, that of pictures where it is apart, and which revision they are."""

    rows: Table
    pictures: Table | None
    revision: Revision | None


def open_hub(source: Source, *, task: str, data_dir: Path, revision: str | None) -> Opened:
    """The data set of a card, fetched where it is not in the cache of `datasets` yet.

    Raises UserError naming the repository, and how to do without a network.
    """
    found = resolve(
        [name for name in (source.repository, source.also) if name],
        wanted=revision or source.revision,
        folder=data_dir / "revisions",
        task=task,
    )
    if source.patterns:
        folder = _explained(found, task, lambda: _snapshot(found, source.patterns))
        return Opened(rows=_from_files(folder, source), pictures=None, revision=found)

    def load(config: str | None) -> Table:
        return _explained(found, task, lambda: _hub_table(found, config, source.split))

    pictures = load(source.pictures.config) if source.pictures else None
    return Opened(rows=load(source.config), pictures=pictures, revision=found)


def open_local(source: Source, path: Path, *, task: str, data_dir: Path) -> Opened:
    """Rows in the same schema on this machine: Parquet, JSONL or CSV files, or a saved data set.

    A folder may hold one folder a task, or one a configuration as the hub has them. Raises
    UserError naming what is not there or cannot be read.
    """
    for name in (task, task.partition(":")[0]):
        if (path / name).is_dir():
            path = path / name
            break
    rows = path
    if source.config and (path / source.config).is_dir():
        rows = path / source.config
    pictures = None
    if source.pictures and (path / source.pictures.config).is_dir():
        pictures = _local_table(path / source.pictures.config, source, data_dir)
    return Opened(rows=_local_table(rows, source, data_dir), pictures=pictures, revision=None)


def _hub_table(revision: Revision, config: str | None, split: str) -> Table:
    import datasets

    return _arrow_table(
        datasets.load_dataset(revision.repository, config, split=split, revision=revision.commit)
    )


def _snapshot(revision: Revision, patterns: Sequence[str]) -> Path:
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(
        revision.repository,
        repo_type="dataset",
        revision=revision.commit,
        allow_patterns=list(patterns),
    )
    return Path(folder)


def _arrow_table(dataset: Any) -> Table:
    """A `datasets.Dataset` as Arrow has it: pictures are bytes, nothing is decoded."""
    raw = dataset.with_format("arrow")
    return Table(
        size=len(dataset),
        columns=frozenset(dataset.column_names),
        fetch=lambda start, stop: raw[start:stop].to_pylist(),
    )


def _list_table(rows: list[dict[str, Any]], folder: Path) -> Table:
    columns = frozenset(name for row in rows for name in row)
    return Table(
        size=len(rows),
        columns=columns,
        fetch=lambda start, stop: rows[start:stop],
        folder=folder,
    )


def _local_table(path: Path, source: Source, data_dir: Path) -> Table:
    import datasets
    from pyarrow import ArrowException

    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            saved = datasets.load_from_disk(str(path))
            return _arrow_table(saved[source.split] if hasattr(saved, "keys") else saved)
        files = _files(path, source)
        if files[0].suffix != ".parquet":
            return _from_files(path, source, files)
        return _arrow_table(
            datasets.load_dataset(
                "parquet",
                data_files=[str(file) for file in files],
                split="train",
                cache_dir=str(data_dir / "datasets"),
            )
        )
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ArrowException, datasets.exceptions.DatasetsError) as e:
        raise UserError(f"{path} cannot be read as a data set: {e}") from e


def _files(path: Path, source: Source) -> list[Path]:
    """Files of one kind: those of the split where names say which, else all."""
    if path.is_file():
        return [path]
    for suffix in _SUFFIXES:
        found = sorted(file for file in path.rglob(f"*{suffix}") if file.is_file())
        mine = [file for file in found if file.name.startswith(source.split)]
        if mine or found:
            return mine or found
    raise UserError(
        f"{path} holds no data set.",
        fix=f"Name a folder or file of {', '.join(_SUFFIXES)} with the columns "
        f"{', '.join(source.columns)}, or one that `datasets` saved.",
    )


def _from_files(path: Path, source: Source, files: Sequence[Path] | None = None) -> Table:
    """Rows of text files, their pictures in files beside them."""
    chosen = files or _files(path, source)
    folder = path if path.is_dir() else path.parent
    rows = [row for file in chosen for row in _text_rows(file)]
    pattern = next((name for name in source.patterns if "*" in name), None)
    if pattern is not None:  # a picture is named by the number of its row
        for row in rows:
            row.setdefault(source.picture, pattern.replace("*", str(row.get("Index", ""))))
    return _list_table(rows, folder)


def _text_rows(file: Path) -> Iterable[dict[str, Any]]:
    """Rows of a JSONL or CSV file. Raises UserError naming the line that is none."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if file.suffix == ".csv":
        reader = csv.DictReader(text.splitlines())
        names = [_spelled(name) for name in reader.fieldnames or ()]
        reader.fieldnames = names
        return [dict(row) for row in reader]
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file}, line {number}, is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{file}, line {number}, is not an object.")
        rows.append(row)
    return rows


def _spelled(name: str) -> str:
    """MMVP's own file calls its first column `lndex`."""
    return "Index" if name == "lndex" else name


def _explained(revision: Revision, task: str, load: Callable[[], Any]) -> Any:
    """What `load` gives; what the hub or the network lacks becomes a UserError."""
    import datasets
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return load()
    except (
        OSError,
        ValueError,
        httpx.HTTPError,
        HfHubHTTPError,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise UserError(
            f"{revision.repository} at {revision.commit} cannot be had: {error}",
            fix=f"Where there is no network, name a copy: --set {task}.path=FOLDER",
        ) from error
