"""Records as files: written whole, read back with every doubt named.

    runs/<name>/results.json           runs/<name>/samples/<task>.parquet
    results/<model>/<run>.json         results/<model>/<run>/samples/<task>.parquet

A record is refused, by name and with the reason, when its file ends in the middle, was changed
after it was written, follows a schema this program does not read, or holds a thing twice.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unimm_eval.api.errors import UserError, explain
from unimm_eval.api.record import SCHEMA_VERSION, RunRecord
from unimm_eval.api.record_scores import ScoredOutput, file_name, scores_from_parquet

RESULTS_FILE = "results.json"
SCORES_FOLDER = "samples"


def record_to_json(record: RunRecord) -> bytes:
    """The file of a record, read back once before it is given away. Raises ValueError when what is
    read back is no record, or another one."""
    data = json.dumps(record.model_dump(mode="json"), indent=2).encode()
    RunRecord.model_validate(json.loads(data))  # its digest must fit
    return data


def record_file(path: str | Path) -> Path:
    """The file of the record at `path`: a file, or the folder of a run."""
    path = Path(path)
    return path / RESULTS_FILE if path.is_dir() else path


def record_folder(path: str | Path) -> Path:
    """Where the files of a record stand: the run's folder, or the folder named like the file."""
    file = record_file(path)
    return file.parent if file.name == RESULTS_FILE else file.with_suffix("")


def scores_file(path: str | Path, task: str) -> Path:
    """Where the scores of a task of the record at `path` stand."""
    return record_folder(path) / SCORES_FOLDER / file_name(task)


def load_record(path: str | Path) -> RunRecord:
    """The record in a file, or in the folder of a run. Raises UserError naming the file and what is
    wrong with it."""
    file = record_file(path)
    try:
        document = json.loads(file.read_bytes(), object_pairs_hook=_once)
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error.strerror}.",
            fix="Was the run finished? The command that began it continues it.",
        ) from error
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        raise UserError(
            f"{file} {'ends in the middle' if cut else 'is not JSON'}: {error}.",
            fix="Copy it again, or write it again with the command that made the run.",
        ) from error
    except (ValueError, RecursionError) as error:  # not text, a key twice, nested without end
        raise UserError(f"{file} is not the record of a run: {error}.") from error
    _check_version(file, document)
    if not document.get("digest"):
        raise UserError(
            f"{file} has no digest, which every record carries: it was changed.",
            fix="Write it again with the command that made the run.",
        )
    try:
        return RunRecord.model_validate(document)
    except ValidationError as error:
        raise UserError(
            f"{file} is not the record of a run: {explain(error)}.",
            fix="Write it again with the command that made the run.",
        ) from error


def load_scores(path: str | Path, task: str) -> tuple[ScoredOutput, ...]:
    """The scores of a task of the record at `path`, one an output, in the order of the run.

    Raises UserError when the task has none, the file is missing, is not the one that the record
    names by its SHA-256, or is not what it should be.
    """
    record = load_record(path)
    said = record.scores.get(task)
    if said is None:
        raise UserError(
            f"{record_file(path)} has no scores of {task}.",
            fix=f"Its tasks with scores are: {', '.join(record.scores) or 'none'}.",
        )
    file = scores_file(path, task)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error.strerror}.",
            fix="It belongs to the record; copy it again.",
        ) from error
    if hashlib.sha256(data).hexdigest() != said.sha256:
        raise UserError(
            f"{file} is not what its record names: it was cut off or changed.",
            fix="Copy it again, or write it again with the command that made the run.",
        )
    try:
        rows = scores_from_parquet(data)
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}.") from error
    if (len(rows), len({row.sample.id for row in rows})) != (said.rows, said.samples):
        raise UserError(f"{file} has {len(rows)} rows, its record says {said.rows}.")
    return rows


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{', '.join(map(repr, twice))} stands in it twice")
    return found


def _check_version(file: Path, document: Any) -> None:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version == SCHEMA_VERSION:
        return
    if not isinstance(version, int):
        raise UserError(f"{file} is not the record of a run: it names no schema version.")
    newer = version > SCHEMA_VERSION
    raise UserError(
        f"{file} is a record of schema version {version}; this program reads {SCHEMA_VERSION}.",
        fix="Use the unimm-eval that made it, or a newer one."
        if newer
        else "The command that made the run writes it again in today's form; nothing is computed "
        "anew.",
    )
