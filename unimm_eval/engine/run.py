"""The folder of a run: who may use it, what it is a run of, and its files.

run.json              identity (model, seed, tasks), plan (threads, batches), machine
store.sqlite, media/  outputs and scores as they come
errors.log            tracebacks of tasks that failed
samples/<task>.parquet, exports/<task>/, results.json   written last; a folder with results.json
                      is complete
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from unimm_eval.api import RESULTS_FILE, RunRecord, UserError, record_to_json, scrubbed, stable_hash
from unimm_eval.engine.files import explained, not_writable, write_atomic
from unimm_eval.engine.machine import hardware, thread_count, versions
from unimm_eval.engine.plan import PlannedTask, even_sizes
from unimm_eval.engine.store import FILE as STORE_FILE
from unimm_eval.engine.store import Store

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
RUNS = Path("runs")


def run_identity(
    planned: Sequence[PlannedTask],
    *,
    name: str,
    fingerprint: str,
    seed: int,
    device: str,
    dtype: str,
    vqa_model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that the numbers of a run depend on, to the last bit. Equal identity, equal run."""
    return {
        "model": {"name": name, "fingerprint": fingerprint},
        **({"vqa_model": dict(vqa_model)} if vqa_model else {}),
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "batch_sizes": {entry.name: entry.batch_size for entry in planned},
        "tasks": {entry.name: entry.identity() for entry in planned},
    }


def run_name(identity: Mapping[str, Any]) -> str:
    """Model and plan hash, fit for a folder's name."""
    model = re.sub(r"[^\w.+-]+", "-", identity["model"]["name"]).strip("-.") or "model"
    return f"{model}-{plan_hash(identity)}"


def plan_hash(identity: Mapping[str, Any]) -> str:
    return stable_hash(identity, length=10)


def check_writable(path: Path) -> None:
    """Raise UserError when nothing can be kept at `path`. Makes and changes nothing."""
    existing = next(folder for folder in (path, *path.absolute().parents) if _exists(folder))
    if not existing.is_dir():
        raise not_writable(path, f"{existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise not_writable(path, f"{existing} is read-only")


def check_output(path: Path) -> None:
    """Raise UserError when no run can be kept at `path`, or another process keeps one there."""
    check_writable(path)
    if path.exists():
        _check_is_run(path)
    if (path / STORE_FILE).exists():
        Store(path, mend=False).close()


def _exists(path: Path) -> bool:
    with explained(path):
        return path.exists()


def _check_is_run(path: Path) -> None:
    entries = {entry.name for entry in path.iterdir()}
    if entries and not entries & {RUN_FILE, STORE_FILE}:
        raise UserError(
            f"{path} is not empty and not the folder of a run.",
            fix="Choose a new folder with --output.",
        )


class RunFolder:
    """The opened folder of one run, locked against every other process."""

    def __init__(
        self,
        path: Path,
        *,
        identity: dict[str, Any],
        planned: Sequence[PlannedTask],
        threads: int | None = None,
    ):
        """Make the folder, or continue the run in it. A new run has `threads`, by default as many
        as this process. Raises UserError when it is another run's."""
        self.path = path
        with explained(path):
            path.mkdir(parents=True, exist_ok=True)
            _check_is_run(path)
        self.store = Store(path)
        try:
            if (path / RUN_FILE).exists():
                self._document = read_run(path)
                _check_same(path, self._document["identity"], identity)
            else:
                self._document = _new_document(identity, planned, threads or thread_count())
                self._save()
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.store.close()

    @property
    def threads(self) -> int:
        return int(self._document["plan"]["threads"])

    @property
    def created(self) -> str:
        return str(self._document["created"])

    @property
    def batches(self) -> dict[str, list[list[int]]]:
        """By task, its consecutive batches as [size, how many of it]."""
        return dict(self._document["plan"]["batches"])

    def batch_sizes(self, task: str) -> list[int]:
        """Sizes of the consecutive batches that a task's outputs are produced in."""
        return [size for size, count in self.batches[task] for _ in range(count)]

    def set_batch_sizes(self, task: str, sizes: Sequence[int]) -> None:
        """Change the plan, durably."""
        self._document["plan"]["batches"][task] = _run_lengths(sizes)
        self._save()

    def log_error(self, task: str, text: str) -> Path:
        """Append a traceback to the log."""
        path = self.path / "errors.log"
        with explained(path), path.open("a", encoding="utf-8") as file:
            file.write(scrubbed(f"{_now()} task {task}\n{text}\n"))
        return path

    def finish(self, record: RunRecord) -> None:
        """Write the record: from now on the run is complete."""
        write_atomic(self.path / RESULTS_FILE, record_to_json(record))

    def _save(self) -> None:
        text = scrubbed(json.dumps(self._document, indent=2))
        write_atomic(self.path / RUN_FILE, text.encode())


def read_run(path: Path) -> dict[str, Any]:
    """`run.json` of a run's folder. Raises UserError when there is none that can be read."""
    file = path / RUN_FILE
    try:
        document = json.loads(file.read_bytes())
        version = document["schema_version"]
    except OSError as error:
        raise UserError(f"{path} is not the folder of a run: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: {error}", fix=f"Remove {path}, or choose another --output."
        ) from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema version {version}; this program reads {SCHEMA_VERSION}.",
            fix="Use the version of unimm-eval that made it, or another --output.",
        )
    return dict(document)


def _new_document(
    identity: dict[str, Any], planned: Sequence[PlannedTask], threads: int
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": run_name(identity),
        "identity": identity,
        "settings": {entry.name: entry.task.config.model_dump(mode="json") for entry in planned},
        "plan": {
            "threads": threads,
            "batches": {
                entry.name: _run_lengths(even_sizes(len(entry.items), entry.batch_size))
                for entry in planned
            },
        },
        "created": _now(),
        "versions": versions(),
        "hardware": hardware(),
    }


def _check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    # Through JSON without secrets, as what is there went.
    differing = list(differences(there, json.loads(scrubbed(json.dumps(wanted)))))
    if differing:
        raise UserError(
            f"{path} is the folder of another run:\n"
            + "\n".join(f"  {field}: {old} there, {new} now" for field, old, new in differing[:8]),
            fix="Choose another folder with --output, or run what it was made with.",
        )


def differences(a: Any, b: Any, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(field, there, here) for each field in which two JSON values differ, values in brief."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from differences(a.get(key), b.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from differences(one, other, f"{where}.{index}".lstrip("."))
    elif a != b:
        yield where, _brief(a), _brief(b)


def _brief(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _run_lengths(sizes: Sequence[int]) -> list[list[int]]:
    return [[size, len(list(group))] for size, group in groupby(sizes)]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
