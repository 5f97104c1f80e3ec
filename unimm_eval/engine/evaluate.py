"""`evaluate`: judge a model on tasks, and keep everything that was computed."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from unimm_eval.api import (
    SCHEMA_VERSION,
    ChildInfo,
    Context,
    IncompleteError,
    Model,
    ModelInfo,
    RunInfo,
    RunRecord,
    Task,
    UserError,
    scrubbed,
    stable_hash,
)
from unimm_eval.engine.execute import execute
from unimm_eval.engine.executors import Executor, capabilities_there, executor
from unimm_eval.engine.groups import group_rows
from unimm_eval.engine.machine import hardware, threads, versions
from unimm_eval.engine.plan import BatchSize, PlannedTask
from unimm_eval.engine.pool import ClusterOptions
from unimm_eval.engine.preflight import Options, Ready, Subject, prepare
from unimm_eval.engine.progress import Progress, Silent
from unimm_eval.engine.registry import group_entries
from unimm_eval.engine.run import RUNS, RunFolder, plan_hash, run_identity, run_name
from unimm_eval.judges import JudgedTask


def evaluate(
    model: str | Model,
    tasks: str | Sequence[str | Task],
    *,
    seed: int = 0,
    limit: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: BatchSize = "auto",
    output: str | Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    data_dir: str | Path | None = None,
    vqa_model: str | Model | None = None,
    vqa_because: str = "",
    cluster: ClusterOptions | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Judge `model` on `tasks` and return the record that `results.json` of the run's folder holds.

    `model` is a spec (`"demo"`, a checkpoint's folder, …) or an object that implements
    capabilities; `tasks` are names, comma lists, globs, groups (`mini`, `paper`) or Task objects.
    `limit` takes the first samples of each task. `settings` maps a task's name to its settings.
    `vqa_model`, a finetuned child of `model`, is asked instead of it about pictures (tasks with
    `about_pictures`), all else of `model`: one record, which names both (paper appendix E.6). A
    child that does not name `model` among its parents is refused, unless `vqa_because` says why.
    The run is kept in `output`, by default `runs/<model>-<plan hash>`; the same call continues it
    after whatever stopped it, and gives the same numbers. With a `cluster` workers of Ray answer,
    as many batches at once as there are workers, with the numbers of one process.

    Raises UserError when something must be changed first (every problem in one message),
    IncompleteError when the run was stopped or could not go on, DefectError when a task failed.
    """
    progress = progress or Silent()
    options = Options(
        seed=seed,
        limit=limit,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        output=None if output is None else Path(output),
        settings=settings or {},
        data_dir=None if data_dir is None else Path(data_dir),
        vqa_model=vqa_model,
        vqa_because=vqa_because,
    )
    with stoppable():
        ready = prepare(model, tasks, options)
        for reason in ready.left_out:
            progress.note(reason)
        with executor(
            cluster,
            subjects=ready.subjects,
            tasks=[entry.task for entry in ready.planned],
            device=ready.device,
            dtype=dtype,
        ) as held:
            return _evaluate(ready, held, options, progress=progress)


def _evaluate(ready: Ready, held: Executor, options: Options, *, progress: Progress) -> RunRecord:
    """Load the models and judge them."""
    loaded = _load(ready, ready.subject, held, progress=progress)
    child: Model | None = None
    child_info: ChildInfo | None = None
    if ready.child is not None:
        child = _load(ready, ready.child, held, progress=progress)
        child_info = ChildInfo(
            **_info(ready.child, child), parents=ready.parents, because=options.vqa_because
        )
    planned = tuple(
        replace(
            entry,
            unit=held.unit_of(ready.asked(entry.task), entry.task),
            answered_by=(
                child.fingerprint if child and ready.asked(entry.task) is ready.child else ""
            ),
        )
        for entry in ready.planned
    )
    for entry in ready.planned:
        if isinstance(entry.task, JudgedTask) and entry.name in ready.judges:
            entry.task.use_judge(held.judge_of(entry.task, ready.judges[entry.name]))
    identity = run_identity(
        planned,
        name=loaded.name,
        fingerprint=loaded.fingerprint,
        seed=options.seed,
        device=ready.device,
        dtype=options.dtype,
        vqa_model=child_identity(child_info) if child_info else None,
    )
    return perform(
        planned,
        held,
        {entry.name: ready.asked(entry.task) for entry in planned},
        info=ModelInfo(**_info(ready.subject, loaded)),
        child=child_info,
        identity=identity,
        path=options.output or RUNS / run_name(identity),
        data_dir=ready.data_dir,
        progress=progress,
    )


def perform(
    planned: Sequence[PlannedTask],
    held: Executor,
    asked: Mapping[str, Subject],
    *,
    info: ModelInfo,
    child: ChildInfo | None,
    identity: dict[str, Any],
    path: Path,
    data_dir: Path,
    progress: Progress,
) -> RunRecord:
    """Run what is planned, to its end, in the folder `path`. `asked` are the models that `held`
    has loaded, by task; of a task without one every output must be there."""
    device = str(identity["device"])
    groups = group_entries().values()  # here, where a card that is none costs nothing yet
    with RunFolder(path, identity=identity, planned=planned, threads=held.threads) as folder:
        progress.note(f"run {path}")
        for mended in folder.store.mended:
            progress.note(mended)
        started = time.monotonic()
        with threads(folder.threads):
            results, scores = execute(
                planned,
                {
                    name: held.asker(subject, threads=folder.threads)
                    for name, subject in asked.items()
                },
                scoring=held.scores,
                overlap=held.overlap,
                folder=folder,
                model_keys={
                    entry.name: stable_hash(
                        [entry.answered_by or info.fingerprint, identity["dtype"]]
                    )
                    for entry in planned
                },
                context=Context(device=device, data_dir=data_dir),
                progress=progress,
            )
        record = RunRecord(
            schema_version=SCHEMA_VERSION,
            model=info,
            vqa_model=child,
            run=RunInfo(
                name=run_name(identity),
                seed=identity["seed"],
                plan_hash=plan_hash(identity),
                tasks={
                    entry.name: {
                        **identity["tasks"][entry.name],
                        "card": entry.task.card.pinned(),
                    }
                    for entry in planned
                },
            ),
            results=(*results, *group_rows(groups, results)),
            scores=scores,
            volatile={
                "folder": str(path),
                "created": folder.created,
                "seconds": round(time.monotonic() - started, 3),
                "threads": folder.threads,
                "device": device,
                "batches": folder.batches,
                "versions": versions(),
                "hardware": hardware(),
            },
        )
        folder.finish(record)
    return record


@dataclass(frozen=True, kw_only=True)
class TaskEstimate:
    """What one task of a run would take: `outputs` are asked of `model` in `batches`, and a judge
    that is a model is asked `questions`, for `cost_usd` where the user gives prices and tokens."""

    task: str
    title: str
    model: str
    samples: int
    outputs: int
    batch_size: int
    batches: int
    questions: int
    cost_usd: float | None = None


def dry_run(
    model: str | Model,
    tasks: str | Sequence[str | Task],
    *,
    limit: int | None = None,
    device: str = "auto",
    batch_size: BatchSize = "auto",
    output: str | Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    data_dir: str | Path | None = None,
    vqa_model: str | Model | None = None,
    vqa_because: str = "",
    note: Callable[[str], None] | None = None,
) -> list[TaskEstimate]:
    """What `evaluate` would do, with all of its checks; loads no model and writes nothing. `note`
    is told why a task would be left out."""
    options = Options(
        limit=limit,
        device=device,
        batch_size=batch_size,
        output=None if output is None else Path(output),
        settings=settings or {},
        data_dir=None if data_dir is None else Path(data_dir),
        vqa_model=vqa_model,
        vqa_because=vqa_because,
    )
    ready = prepare(model, tasks, options)
    if note is not None:
        for reason in ready.left_out:
            note(reason)
    return [
        TaskEstimate(
            task=entry.name,
            title=entry.task.card.title,
            model=ready.asked(entry.task).spec,
            samples=len(entry.samples),
            outputs=len(entry.items),
            batch_size=entry.batch_size,
            batches=-(-len(entry.items) // entry.batch_size),
            questions=_questions(entry),
            cost_usd=_cost(entry),
        )
        for entry in ready.planned
    ]


def _questions(entry: PlannedTask) -> int:
    """How often a judge would be asked, if every answer can be read at once."""
    task = entry.task
    if not isinstance(task, JudgedTask):
        return 0
    return sum(task.questions_about(item.sample) for item in entry.items)


def _cost(entry: PlannedTask) -> float | None:
    task = entry.task
    return task.cost_of(_questions(entry)) if isinstance(task, JudgedTask) else None


def child_identity(child: ChildInfo) -> dict[str, Any]:
    """What a run is a run of, as far as it is of a child."""
    return child.model_dump(mode="json", include={"name", "fingerprint", "parents", "because"})


def _load(ready: Ready, subject: Subject, held: Executor, *, progress: Progress) -> Model:
    """The model, which must be able to do what was promised for it."""
    progress.note(f"loading {subject.spec}")
    tasks = [entry.task for entry in ready.planned if ready.asked(entry.task) is subject]
    model = held.load(subject, tasks)
    promised = frozenset[str]().union(*(task.requires() for task in tasks))
    missing = sorted(promised - capabilities_there(model))
    if missing:
        raise UserError(f"Model {subject.spec} lacks {', '.join(missing)} once loaded.")
    return model


def _info(subject: Subject, model: Model) -> dict[str, Any]:
    """What a record says of a model."""
    said = {
        "name": model.name,
        "spec": subject.spec,
        "fingerprint": model.fingerprint,
        "facts": dict(model.describe()),
    }
    info: dict[str, Any] = json.loads(scrubbed(json.dumps(said)))
    return info


@contextmanager
def stoppable() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM end the run in order: what is committed stays, the lock is free."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt as error:
        raise IncompleteError(
            "Stopped. Every finished batch is kept.", fix="The same command continues the run."
        ) from error
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
