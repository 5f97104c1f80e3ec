"""Texts as files hold them, one after another: JSONL, parquet, a saved data set, the hub's.

They are read once, to be tokenised, in parts that each begin at a place of their own.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.train.data.bad import BadRecord
from unimm_eval.train.data.files import find_files, fingerprint
from unimm_eval.train.data.lines import json_object, text_of
from unimm_eval.train.data.schema import TextSource

Rows = Iterator[tuple[str, dict[str, Any] | BadRecord]]
"""Place of a record, and its fields or why it has none."""

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_SAVED = "state.json"
"""What `datasets` writes into the folder of a data set that it saves."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the texts; `key` is what they depend on."""

    key: str
    rows: Callable[[], Rows]


def text_fingerprint(spec: TextSource, name: str) -> str:
    """What makes two sources the same texts. Raises UserError."""
    if spec.dataset is not None:
        return f"{spec.dataset}@{spec.revision}"
    assert spec.path is not None
    if _saved(spec.path) is not None:
        return fingerprint(find_files(spec.path, source=name, suffixes=(".arrow", ".json")))
    return fingerprint(find_files(spec.path, source=name, suffixes=SUFFIXES))


def parts_of(spec: TextSource, name: str) -> list[Part]:
    """The parts of a source in order. Raises UserError."""
    if spec.dataset is not None:
        return _hub(spec, name)
    assert spec.path is not None
    if (saved := _saved(spec.path)) is not None:
        return [Part(key=text_fingerprint(spec, name), rows=lambda: _dataset_rows(saved))]
    files = find_files(spec.path, source=name, suffixes=SUFFIXES)
    return [Part(key=fingerprint([file]), rows=_reader(file)) for file in files]


def text_in(fields: dict[str, Any] | BadRecord, key: str) -> str:
    """The text of a record, with the space around it. Raises BadRecord."""
    if isinstance(fields, BadRecord):
        raise fields
    text_of(fields, key)
    return str(fields[key])


def _reader(path: Path) -> Callable[[], Rows]:
    return lambda: _parquet(path) if path.suffix == ".parquet" else _jsonl(path)


def _jsonl(path: Path) -> Rows:
    with _readable(path):
        import pyarrow as pa

        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        with pa.input_stream(str(path), compression=compression) as stream:
            for number, line in enumerate(io.BufferedReader(stream), start=1):
                place = f"{path.name}:{number}"
                try:
                    fields = json_object(line)
                except BadRecord as error:
                    yield place, error
                else:
                    if fields is not None:
                        yield place, fields


def _parquet(path: Path) -> Rows:
    with _readable(path):
        import pyarrow.parquet as pq

        number = 0
        for batch in pq.ParquetFile(path).iter_batches():
            for fields in batch.to_pylist():
                yield f"{path.name}:{number}", fields
                number += 1


def _saved(path: str) -> Path | None:
    folder = Path(path).expanduser()
    return folder if (folder / _SAVED).is_file() else None


def _dataset_rows(folder: Path) -> Rows:
    with _readable(folder):
        import datasets

        for number, fields in enumerate(datasets.load_from_disk(str(folder))):
            yield f"{folder.name}:{number}", fields


def _hub(spec: TextSource, name: str) -> list[Part]:
    """The shards of a data set of the hub, each read when it is needed and not kept."""
    import datasets

    try:
        found = datasets.load_dataset(
            spec.dataset, spec.subset, revision=spec.revision, split=spec.split, streaming=True
        )
    except Exception as error:
        raise UserError(
            f"sources.{name}: {spec.dataset} at {spec.revision} cannot be opened: {error}",
            fix="Check names and the network, or download it and name its files as path.",
        ) from error
    count = found.num_shards

    def rows(index: int) -> Rows:
        shard = found.shard(num_shards=count, index=index)
        for number, fields in enumerate(shard):
            yield f"{spec.dataset} shard {index}:{number}", fields

    key = f"{spec.dataset}@{spec.revision}/{spec.subset}/{spec.split}"
    return [
        Part(key=f"{key}/{index}/{count}", rows=lambda index=index: rows(index))  # type: ignore[misc]
        for index in range(count)
    ]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's errors are these
        raise UserError(
            f"{path} cannot be read: {error}", fix="Bring the whole file, or take it out."
        ) from error
