"""A run for comparison, from wherever it stands: its folder, or a published record with the scores
beside it.

A published record has no store: its outputs and scores are those of the parquet files that it names
by their SHA-256. Arrays (the features of pictures) are not published, and pictures are shown only
where the folder `media/` came along.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unimm_eval import data
from unimm_eval.api import (
    Output,
    RunRecord,
    ScoredOutput,
    Task,
    load_record,
    load_scores,
    record_file,
    record_folder,
)
from unimm_eval.engine.load import LoadedRun, LoadedTask, load_run
from unimm_eval.engine.media import MediaStore
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import find_tasks, task_entries
from unimm_eval.engine.run import RUN_FILE


def load_side(path: str | Path, *, tasks: Sequence[Task] = ()) -> LoadedRun:
    """The run at `path`: the folder of a run, its `results.json`, or a published record.

    Tasks that were given as objects must be given again in `tasks`. Raises UserError naming what is
    damaged, missing, of another schema or not known.
    """
    path = Path(path)
    folder, file = record_folder(path), record_file(path)
    if (folder / RUN_FILE).exists():
        return load_run(folder, tasks=tasks)
    if file.is_file() or path.suffix == ".json":
        return _load_published(path, tasks=tasks)
    return load_run(path, tasks=tasks)


def protocol_of(run: LoadedRun, task: str) -> Mapping[str, Any]:
    """What a run says of a task: its protocol hash, card, settings, judge and samples."""
    return run.record.run.tasks[task]


def _load_published(path: Path, *, tasks: Sequence[Task]) -> LoadedRun:
    record = load_record(path)
    live = {task.card.name: task for task in tasks}
    media = MediaStore(record_folder(path) / "media")
    loaded = {}
    for name in record.scores:
        task = live.get(name) or _make(name, record)
        rows = load_scores(path, name)
        loaded[name] = LoadedTask(
            task=task,
            samples=tuple(row.sample for row in rows),
            outputs=tuple(_output(row, media) for row in rows),
            scores=tuple(row.score for row in rows),
        )
    identity = {
        "seed": record.run.seed,
        "tasks": {name: _without_card(facts) for name, facts in record.run.tasks.items()},
    }
    return LoadedRun(folder=record_file(path), record=record, identity=identity, tasks=loaded)


def _make(name: str, record: RunRecord) -> Task:
    (entry,) = find_tasks([name], task_entries())
    return make_task(entry, record.run.tasks[name].get("set", {}), data.data_dir(None))


def _output(row: ScoredOutput, media: MediaStore) -> Output:
    return Output(
        sample_id=row.score.sample_id,
        repeat=row.score.repeat,
        values=row.answer,
        media={name: media.picture(file) for name, file in row.media.items()},
        error=row.error,
    )


def _without_card(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key != "card"}
