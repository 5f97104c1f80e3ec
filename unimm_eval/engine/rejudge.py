"""Judging a run again, with another judge: its outputs stand, only the scores are new.

The run and its numbers stay as they are. What another judge says is another run, in a folder of its
own, which begins as a copy of the outputs: it is called what `evaluate` with that judge would call
it, and ends with the same record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unimm_eval import data
from unimm_eval.api import (
    RESULTS_FILE,
    ChildInfo,
    Model,
    ModelInfo,
    RunRecord,
    Task,
    UserError,
    load_record,
)
from unimm_eval.engine.array_files import FOLDER as ARRAYS
from unimm_eval.engine.evaluate import perform, stoppable
from unimm_eval.engine.executors import Here
from unimm_eval.engine.files import explained
from unimm_eval.engine.judging import find_judge
from unimm_eval.engine.plan import PlannedTask, plan_task
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.progress import Progress, Silent
from unimm_eval.engine.registry import find_adapter, find_tasks, task_entries
from unimm_eval.engine.run import RUNS, read_run, run_identity, run_name
from unimm_eval.engine.store import FILE as STORE_FILE
from unimm_eval.engine.store import Store
from unimm_eval.judges import JudgedConfig, JudgedTask

_HALF_COPIED = {"media", ARRAYS, f".{STORE_FILE}.tmp"}


def rejudge(
    run: str | Path,
    *,
    judge: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    tasks: Sequence[Task] = (),
    output: str | Path | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Judge the outputs of a run again and return the record of the new one.

    `judge` is the judge of every task that has one; `settings` are settings of judging by task.
    Tasks that were given as objects are given again in `tasks`, with their judge in them. With the
    judge that the run had, the run itself goes on: what it left unscored is asked again.

    Raises UserError when something must be changed, IncompleteError when the judge was down.
    """
    source, progress = Path(run), progress or Silent()
    document = read_run(source)
    identity = document["identity"]
    folder = data.data_dir(data_dir)
    device, dtype = identity["device"], identity["dtype"]
    models: dict[str, Model] = {}

    def load(spec: str) -> Model:
        if spec not in models:
            models[spec] = find_adapter(spec).load(spec, device=device, dtype=dtype)
        return models[spec]

    with stoppable():
        made = _tasks(document["settings"], judge, settings or {}, tasks, folder)
        for task in made:
            if isinstance(task, JudgedTask) and task.wants_judge:
                task.use_judge(find_judge(task)(load))
        with Store(source) as store:
            planned = [_planned(task, identity, store) for task in made]
            model = identity["model"]
            again = run_identity(
                planned,
                name=model["name"],
                fingerprint=model["fingerprint"],
                seed=identity["seed"],
                device=device,
                dtype=dtype,
                vqa_model=identity.get("vqa_model"),
            )
            path = source
            if again != identity:
                path = Path(output) if output else RUNS / run_name(again)
                _begin(path, store)
        return perform(
            planned,
            Here(device=device, dtype=dtype),
            {},
            info=_model_info(source, model),
            child=_child_info(source, identity.get("vqa_model")),
            identity=again,
            path=path,
            data_dir=folder,
            progress=progress,
        )


def _tasks(
    before: Mapping[str, Mapping[str, Any]],
    judge: str | None,
    settings: Mapping[str, Mapping[str, Any]],
    live: Sequence[Task],
    data_dir: Path,
) -> list[Task]:
    """The run's tasks with what is new about their judges."""
    for name, values in settings.items():
        wrong = [key for key in values if key not in JudgedConfig.model_fields or key == "limit"]
        if wrong or name not in before:
            raise UserError(
                f"{name}.{wrong[0]} is no setting of a judge."
                if wrong
                else f"The run has no task {name}.",
                fix="Judging again changes settings that begin with `judge`, of the run's tasks: "
                f"{', '.join(before)}.",
            )
    entries = task_entries()
    given = {task.card.name: task for task in live}
    made: list[Task] = []
    for name, values in before.items():
        if name in given:
            made.append(given[name])
            continue
        (entry,) = find_tasks([name], entries)
        judged = issubclass(entry.load(), JudgedTask)
        changed = {"judge": judge} if judged and judge else {}
        made.append(make_task(entry, {**values, **changed, **settings.get(name, {})}, data_dir))
    if not any(isinstance(task, JudgedTask) for task in made):
        raise UserError(
            f"None of the run's tasks is judged by a model: {', '.join(before)}.",
            fix="Their judges are exact; there is nothing to ask again.",
        )
    return made


def _planned(task: Task, identity: Mapping[str, Any], store: Store) -> PlannedTask:
    """The plan of the run, whose outputs must all be there."""
    name = task.card.name
    samples = store.samples(name)
    task.check()
    entry = plan_task(
        task,
        seed=identity["seed"],
        limit=len(samples) or None,
        batch_size=identity["batch_sizes"][name],
        device=identity["device"],
    )
    there = store.output_keys(name)
    missing = sum((item.sample.id, item.repeat) not in there for item in entry.items)
    if missing:
        raise UserError(
            f"{store.path} lacks {missing} of {len(entry.items)} outputs of {name}.",
            fix="The command that began the run makes them.",
        )
    facts = identity["tasks"][name]
    return replace(entry, unit=facts.get("unit", {}), answered_by=facts.get("answered_by", ""))


def _begin(path: Path, store: Store) -> None:
    """A folder with the outputs in it, unless it is there already."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
        begun = {entry.name for entry in path.iterdir()}
    if begun <= _HALF_COPIED:
        store.copy_to(path)


def _model_info(folder: Path, model: Mapping[str, str]) -> ModelInfo:
    """What the run's record says of its model; less where the run never came to its end."""
    if (folder / RESULTS_FILE).exists():
        return load_record(folder).model
    return ModelInfo(name=model["name"], spec=model["name"], fingerprint=model["fingerprint"])


def _child_info(folder: Path, child: Mapping[str, Any] | None) -> ChildInfo | None:
    """The same of the child that answered the questions about pictures."""
    if child is None:
        return None
    if (folder / RESULTS_FILE).exists():
        return load_record(folder).vqa_model
    return ChildInfo(**child, spec=child["name"])
