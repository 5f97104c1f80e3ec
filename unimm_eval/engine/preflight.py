"""Everything that can be found wrong before a model is loaded, found at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimm_eval import data
from unimm_eval.api import READS_PICTURES, Model, Task, UserError, capabilities_of
from unimm_eval.engine.groups import spread_settings
from unimm_eval.engine.judging import MakeJudge, find_judge
from unimm_eval.engine.lineage import check_child, lineage_of
from unimm_eval.engine.machine import resolve_device
from unimm_eval.engine.plan import BatchSize, PlannedTask, plan_task
from unimm_eval.engine.problems import Problems
from unimm_eval.engine.registry import (
    TaskEntry,
    find_adapter,
    find_tasks,
    group_entries,
    named_tasks,
    task_entries,
)
from unimm_eval.engine.run import RUNS, check_output, check_writable
from unimm_eval.engine.settings import check_tasks, configure
from unimm_eval.judges import JudgedTask

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run, as the user said it."""

    seed: int = 0
    limit: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: BatchSize = "auto"
    output: Path | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data_dir: Path | None = None
    vqa_model: str | Model | None = None
    vqa_because: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is known but not loaded: what it can do, and `load(device, dtype)`. One that is
    `live` was given as an object."""

    spec: str
    capabilities: frozenset[str]
    load: Callable[[str, str], Model]
    live: bool = False


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A run in which nothing is known to be wrong. `child` is asked about pictures instead of the
    subject, where there is one. `left_out` are tasks of `mini`, `paper` or a glob that the model
    cannot run, and why."""

    subject: Subject
    child: Subject | None = None
    parents: tuple[str, ...] = ()
    planned: tuple[PlannedTask, ...]
    judges: Mapping[str, MakeJudge]
    device: str
    data_dir: Path
    left_out: tuple[str, ...] = ()

    @property
    def subjects(self) -> list[Subject]:
        """All models of the run."""
        return [self.subject, self.child] if self.child else [self.subject]

    def asked(self, task: Task) -> Subject:
        """Whom a task asks."""
        return self.child if self.child and task.about_pictures else self.subject


def prepare(model: str | Model, tasks: str | Sequence[str | Task], options: Options) -> Ready:
    """Resolve model, tasks, judges and settings; check capabilities, data and output; list the
    samples.

    Loads no model and writes nothing. Raises one UserError that tells every problem.
    """
    problems = Problems()
    subject: Subject | None = None
    child: Subject | None = None
    parents: tuple[str, ...] = ()
    device = "cpu"
    planned: list[PlannedTask] = []
    judges: dict[str, MakeJudge] = {}
    can_plan = _check_options(options, problems)
    with problems.noted():
        device = _device(model, options.device)
    with problems.noted():
        subject = _subject(model)
    with problems.noted():
        if options.vqa_model is not None:
            child = _subject(options.vqa_model)
            if subject is not None:
                parents = _parents(options.vqa_model, model, because=options.vqa_because)
        elif options.vqa_because:
            raise UserError("--vqa-because is given without --vqa-model.", fix="Leave it out.")
    data_dir = data.data_dir(options.data_dir)
    chosen = _tasks(tasks, options.settings, data_dir, problems)
    left_out: dict[str, str] = {}
    if child is not None and chosen and not any(task.about_pictures for task in chosen):
        problems.add(
            "--vqa-model is given, but no task asks about pictures.",
            fix="Leave it out, or add such a task: vqa16, vqa16:mini, lmms:TASK.",
        )
    both = child is not None or options.vqa_model is None
    if both and subject is not None:
        asked = {task: child if child and task.about_pictures else subject for task in chosen}
        left_out = _left_out(asked, named=_named(tasks))
        for task, who in asked.items():
            if task.card.name not in left_out:
                with problems.noted():
                    _check_capabilities(who, task)
    for task in chosen:
        if task.card.name in left_out:
            continue
        with problems.noted():
            task.check()
            if can_plan:
                entry = plan_task(
                    task,
                    seed=options.seed,
                    limit=options.limit,
                    batch_size=options.batch_size,
                    device=device,
                )
                planned.append(entry)
        if isinstance(task, JudgedTask) and task.wants_judge:
            with problems.noted():
                judges[task.card.name] = find_judge(task)
    with problems.noted():
        if options.output is None:
            check_writable(RUNS)
        else:
            check_output(options.output)
    problems.raise_any()
    assert subject is not None
    return Ready(
        subject=subject,
        child=child,
        parents=parents,
        planned=tuple(planned),
        judges=judges,
        device=device,
        data_dir=data_dir,
        left_out=tuple(left_out.values()),
    )


def make_task(entry: TaskEntry, values: Mapping[str, Any], data_dir: Path) -> Task:
    """A task with its settings. Raises UserError for settings that it does not have."""
    task = entry.load()
    config = configure(task.Config, values, task=entry.card.name)
    return task(entry.card, config, data_dir=data_dir)


def _check_options(options: Options, problems: Problems) -> bool:
    """Note what is wrong with the options; whether samples can be planned under them."""
    before = len(problems.found)
    if options.limit is not None and options.limit < 1:
        problems.add(f"--limit is {options.limit}.", fix="Use 1 or more, or leave it out.")
    if options.batch_size != "auto" and options.batch_size < 1:
        problems.add(f"--batch-size is {options.batch_size}.", fix="Use auto, or 1 or more.")
    can_plan = len(problems.found) == before
    if options.dtype not in DTYPES:
        problems.add(f"--dtype is {options.dtype}.", fix=f"Use one of {', '.join(DTYPES)}.")
    return can_plan


def _device(model: str | Model, device: str) -> str:
    if device == "auto" and not isinstance(model, str):
        return str(getattr(model, "device", "cpu"))
    return resolve_device(device)


def _subject(model: str | Model) -> Subject:
    if isinstance(model, str):
        adapter = find_adapter(model)
        spec = model
        return Subject(
            spec=spec,
            capabilities=adapter.capabilities_for(spec),
            load=lambda device, dtype: adapter.load(spec, device=device, dtype=dtype),
        )
    live = model
    if not isinstance(live, Model):
        raise UserError(
            f"{type(live).__name__} is not a model: it lacks a name, a fingerprint or describe().",
            fix="unimm_eval.api.Model says what a model has.",
        )
    return Subject(
        spec=live.name,
        capabilities=capabilities_of(live),
        load=lambda device, dtype: live,
        live=True,
    )


def _tasks(
    tasks: str | Sequence[str | Task],
    settings: Mapping[str, Mapping[str, Any]],
    data_dir: Path,
    problems: Problems,
) -> list[Task]:
    """The chosen tasks that can be made, in order."""
    given = [tasks] if isinstance(tasks, str) else list(tasks)
    made: dict[str, Task] = {}
    named: list[str] = []
    with problems.noted():
        settings = _for_members(settings)
    for wanted in given:
        found: list[TaskEntry] = []
        if isinstance(wanted, Task):
            if wanted.card.name in made:
                problems.add(f"Task {wanted.card.name} is given twice.")
            made[wanted.card.name] = wanted
            continue
        with problems.noted():
            found = find_tasks([wanted], task_entries())
        for entry in found:
            name = entry.card.name
            named.append(name)
            if name not in made:
                with problems.noted():
                    made[name] = make_task(entry, settings.get(name, {}), data_dir)
    if not given or (not made and not problems.found):
        problems.add("No task is named.", fix="Name some with --tasks, e.g. --tasks mini.")
    with problems.noted():
        check_tasks(settings, named)
    return list(made.values())


def _for_members(settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """The settings with those of groups handed to their members."""
    groups = group_entries()
    if not settings.keys() & groups.keys():
        return settings
    entries = task_entries()
    return spread_settings(settings, groups, lambda task: entries[task].load().Config.model_fields)


def _named(tasks: str | Sequence[str | Task]) -> frozenset[str]:
    """Tasks that were asked for one by one."""
    given = [tasks] if isinstance(tasks, str) else list(tasks)
    names = [task for task in given if isinstance(task, str)]
    objects = {task.card.name for task in given if isinstance(task, Task)}
    return named_tasks(names, task_entries()) | objects


def _parents(child: str | Model, model: str | Model, *, because: str) -> tuple[str, ...]:
    """Fingerprints of what the child comes from. Raises UserError where it is not the model's."""
    lineage = lineage_of(child)
    spec = child if isinstance(child, str) else child.name
    check_child(lineage, lineage_of(model), spec=spec, because=because)
    return lineage.parents if lineage else ()


def _left_out(asked: Mapping[Task, Subject], *, named: frozenset[str]) -> dict[str, str]:
    """Why tasks that nobody named are not run: a dense model has no experts to look at. Empty where
    none would be left, which is then an error of each."""
    found = {
        task.card.name: f"{task.card.name} is left out: the model lacks {', '.join(missing)}"
        for task, subject in asked.items()
        if task.card.name not in named and (missing := _missing(subject, task))
    }
    return found if len(found) < len(asked) else {}


def _missing(subject: Subject, task: Task) -> list[str]:
    shown = {READS_PICTURES} if task.about_pictures else set[str]()
    return sorted((task.requires() | shown) - subject.capabilities)


def _check_capabilities(subject: Subject, task: Task) -> None:
    if missing := _missing(subject, task):
        raise UserError(
            f"Model {subject.spec} cannot run {task.card.name}: it lacks {', '.join(missing)}.",
            fix="Leave the task out, or choose a model that has them (unimm-eval models).",
        )
