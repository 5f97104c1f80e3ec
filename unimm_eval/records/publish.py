"""From the folder of a finished run to a record in `results/`.

What is published is the run's record, without what tells about the machine it was made on, the
scores of its samples as they are, and as many of its pictures as fit a small budget. The same
samples of a task are chosen for every model, so that their pictures can be looked at side by side.
"""

import re
import shutil
from pathlib import Path

from unimm_eval.api import (
    RunRecord,
    UserError,
    load_record,
    load_scores,
    record_folder,
    record_to_json,
    scores_file,
    stable_hash,
)
from unimm_eval.engine.files import explained, write_atomic
from unimm_eval.records.check import Problem, check_record, check_results
from unimm_eval.records.layout import MEDIA_FOLDER, published, record_path

TASK_MEDIA_BYTES = 1_000_000
RUN_MEDIA_BYTES = 6_000_000
_KEPT = ("created", "seconds", "device", "threads", "versions", "hardware")
_STAGE = ".publishing"


def publish(
    run: str | Path,
    *,
    results: str | Path = "results",
    name: str | None = None,
    dry_run: bool = False,
) -> Path:
    """Check a run as a repository of results would, write it to `results`, and return the path of
    its record. `name` is what the model is called there. With `dry_run` nothing stays.

    Raises UserError with everything that is amiss; then nothing was written.
    """
    run, results = Path(run), Path(results)
    record = public_record(load_record(run), name=name)
    target = results / record_path(record)
    stage = results / _STAGE
    try:
        staged = stage / record_path(record)
        _write(staged, record, run)
        _refuse(check_record(stage, staged, record), run)
        _refuse([problem.what for problem in _beside(results, target, record)], run)
        if not dry_run:
            _move(staged, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return target


def public_record(record: RunRecord, *, name: str | None = None) -> RunRecord:
    """The record as it is published: no host, no folder, no password, and the name it is given."""
    volatile = {key: record.volatile[key] for key in _KEPT if key in record.volatile}
    if isinstance(hardware := volatile.get("hardware"), dict):
        volatile["hardware"] = {key: hardware[key] for key in hardware if key != "host"}
    model = record.model.model_copy(
        update={"name": name or record.model.name, "spec": public_spec(record.model.spec)}
    )
    child = record.vqa_model and record.vqa_model.model_copy(
        update={"spec": public_spec(record.vqa_model.spec)}
    )
    renamed = record.changed(model=model, vqa_model=child, volatile=volatile)
    path = record_path(renamed)
    return renamed.changed(run=renamed.run.model_copy(update={"name": path.stem}))


def public_spec(spec: str) -> str:
    """A model's spec without folders of this machine and without a user's name and password."""
    kind, colon, rest = spec.partition(":")
    if colon and kind.isalnum() and "//" not in rest and not rest.startswith(("/", "~", ".")):
        return spec
    if "//" in spec:
        return re.sub(r"//[^/]*@", "//", spec)
    last = Path(rest if colon and kind.isalnum() else spec).name
    return f"{kind}:{last}" if colon and kind.isalnum() else last or spec


def _write(file: Path, record: RunRecord, run: Path) -> None:
    """The record with its files; media are chosen by a hash of their sample, so that the choice is
    the same for every model."""
    write_atomic(file, record_to_json(record))
    left = RUN_MEDIA_BYTES
    for task in record.scores:
        rows = load_scores(run, task)
        copy = scores_file(file, task)
        with explained(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(scores_file(run, task), copy)
        budget = min(TASK_MEDIA_BYTES, left)
        shown = sorted(
            (row for row in rows if row.score.repeat == 0),
            key=lambda row: stable_hash(row.sample.id),
        )
        for name in dict.fromkeys(name for row in shown for name in row.media.values()):
            source = record_folder(run) / MEDIA_FOLDER / name[:2] / name
            if not source.is_file():
                raise UserError(
                    f"{source} is missing.", fix="The command that made the run makes it again."
                )
            size = source.stat().st_size
            if size > budget:
                break
            copy = record_folder(file) / MEDIA_FOLDER / name[:2] / name
            with explained(copy):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
            budget, left = budget - size, left - size


def _beside(results: Path, target: Path, record: RunRecord) -> list[Problem]:
    """What is amiss with the record among those that are there."""
    problems = []
    for file in published(results):
        try:
            other = load_record(file)
        except UserError:  # that one's own trouble; `check_results` tells of it
            continue
        name = str(file.relative_to(results))
        same_model = other.model.fingerprint == record.model.fingerprint
        if file == target and other.digest != record.digest:
            what = f"{name} is there already, with other numbers; remove it first"
            problems.append(Problem(file=name, what=what))
        elif same_model and other.model.name != record.model.name:
            what = f"the model is called {other.model.name!r} in {name}; publish it with --name"
            problems.append(Problem(file=name, what=what))
    return problems


def _refuse(reasons: list[str], run: Path) -> None:
    if reasons:
        raise UserError(
            f"{run} cannot be published:\n" + "\n".join(f"  {reason}" for reason in reasons),
            fix="Run it whole, with the tasks that are installed here, and publish that.",
        )


def _move(staged: Path, target: Path) -> None:
    """The files first, the record last: a record that is there is whole."""
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = record_folder(target)
        shutil.rmtree(folder, ignore_errors=True)
        if record_folder(staged).exists():
            record_folder(staged).replace(folder)
        staged.replace(target)


__all__ = ["check_results", "public_record", "public_spec", "publish"]
