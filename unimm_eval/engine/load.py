"""A finished run, read back: what reports and comparisons are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unimm_eval import data
from unimm_eval.api import Output, RunRecord, Sample, Score, Task, UserError, load_record
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import find_tasks, task_entries
from unimm_eval.engine.run import read_run
from unimm_eval.engine.store import Store


@dataclass(frozen=True, kw_only=True)
class LoadedTask:
    """A task of a run and, aligned, all of its samples, outputs and scores, one an output.

    Pictures of outputs are paths in the run's folder, read when they are looked at.
    """

    task: Task
    samples: tuple[Sample, ...]
    outputs: tuple[Output, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, kw_only=True)
class LoadedRun:
    """A run's folder: its record, what it is a run of, and its tasks by name in the order they were
    run."""

    folder: Path
    record: RunRecord
    identity: Mapping[str, Any]
    tasks: Mapping[str, LoadedTask]


def load_run(
    path: str | Path, *, tasks: Sequence[Task] = (), data_dir: str | Path | None = None
) -> LoadedRun:
    """Read a finished run. Tasks that were given as objects must be given again in `tasks`.

    Raises UserError when `path` is not the folder of a finished run or a task is not known.
    """
    folder = Path(path)
    document = read_run(folder)
    identity = document["identity"]
    record = load_record(folder)
    live = {task.card.name: task for task in tasks}
    entries = task_entries()
    loaded: dict[str, LoadedTask] = {}
    with Store(folder, readonly=True) as store:
        for name, settings in document["settings"].items():
            if name in live:
                task = live[name]
            else:
                (entry,) = find_tasks([name], entries)
                task = make_task(entry, settings, data.data_dir(data_dir))
            judge = identity["tasks"][name]["judge"]
            loaded[name] = _load_task(task, store, judge=judge)
    return LoadedRun(folder=folder, record=record, identity=identity, tasks=loaded)


def _load_task(task: Task, store: Store, *, judge: str) -> LoadedTask:
    """`judge` is the one that the run had, whatever the task's is by now."""
    name = task.card.name
    outputs = store.outputs(name)
    scores = store.scores(name, judge)
    samples = store.samples(name)
    rows = [(sample, (sample.id, repeat)) for sample in samples for repeat in range(sample.repeats)]
    if any(key not in outputs or key not in scores for _, key in rows):
        raise UserError(
            f"{store.path} lacks outputs or scores of {name}.",
            fix="The command that began the run completes it.",
        )
    return LoadedTask(
        task=task,
        samples=tuple(sample for sample, _ in rows),
        outputs=tuple(outputs[key] for _, key in rows),
        # The store is about to close: arrays are taken along.
        scores=tuple(replace(scores[key], arrays=dict(scores[key].arrays)) for _, key in rows),
    )
