"""Workers and scorers: what runs at the other end of a cluster (`--executor ray`).

The driver's store stays the only truth: a worker answers whole batches as they are planned, a
scorer judges outputs, and neither keeps anything. Outputs depend on their batch, model and seed
alone, so any number of workers gives the same ones.
"""

import os
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from unimm_eval.api import (
    Card,
    Context,
    Item,
    Model,
    Output,
    Picture,
    Sample,
    Score,
    Task,
    TaskConfig,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.ask import Answer, Batch, ask
from unimm_eval.engine.judging import find_judge
from unimm_eval.engine.machine import threads
from unimm_eval.engine.pool import Pool
from unimm_eval.engine.preflight import Subject
from unimm_eval.engine.registry import find_adapter
from unimm_eval.engine.stopped import TaskStopped, task_code
from unimm_eval.judges import Answer as Judgement
from unimm_eval.judges import JudgedTask, Question

JUDGED_AT_ONCE = 32
"""Samples whose outputs a scorer is sent at once."""


@dataclass(frozen=True, kw_only=True)
class TaskParts:
    """What a task is made of elsewhere: the task itself may hold what cannot be sent."""

    kind: type[Task]
    card: Card
    config: TaskConfig
    data_dir: Path

    @classmethod
    def of(cls, task: Task) -> "TaskParts":
        return cls(kind=type(task), card=task.card, config=task.config, data_dir=task.data_dir)

    def make(self) -> Task:
        return self.kind(self.card, self.config, data_dir=self.data_dir)


@dataclass(frozen=True, kw_only=True)
class RemoteModel:
    """A model that workers hold: what the record and the plan must know of it."""

    name: str
    fingerprint: str
    facts: Mapping[str, Any]
    capabilities: frozenset[str]
    units: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def describe(self) -> Mapping[str, Any]:
        return self.facts


def check_sendable(subjects: Sequence[Subject], tasks: Sequence[Task]) -> None:
    """Raise UserError for what workers cannot make for themselves."""
    if live := [subject.spec for subject in subjects if subject.live]:
        raise UserError(
            f"The model {live[0]} is an object of this process; workers elsewhere cannot have it.",
            fix="Give a model by its spec, or leave the cluster out.",
        )
    for task in tasks:
        try:
            TaskParts.of(task).make()
        except TypeError as error:
            raise UserError(
                f"Task {task.card.name} cannot be made from its card and settings: {error}.",
                fix="Give it a constructor like Task's, or leave the cluster out.",
            ) from error


class Actor:
    """A process of its own, in the folder where the run began, with models that are loaded once."""

    def __init__(self, *, folder: str, device: str, dtype: str) -> None:
        if os.path.isdir(folder):  # paths of models and data may be relative to it
            os.chdir(folder)
        self._device, self._dtype = device, dtype
        self._models: dict[str, Model] = {}
        self._tasks: dict[str, Task] = {}

    def process(self) -> int:
        """Its number, once it is there."""
        return os.getpid()

    def model(self, spec: str) -> Model:
        if spec not in self._models:
            self._models[spec] = find_adapter(spec).load(
                spec, device=self._device, dtype=self._dtype
            )
        return self._models[spec]

    def task(self, parts: TaskParts) -> Task:
        if parts.card.name not in self._tasks:
            self._tasks[parts.card.name] = parts.make()
        return self._tasks[parts.card.name]


class Worker(Actor):
    def describe(self, spec: str, tasks: Sequence[TaskParts]) -> RemoteModel:
        """Load the model and say what it is."""
        model = self.model(spec)
        return RemoteModel(
            name=model.name,
            fingerprint=model.fingerprint,
            facts=dict(model.describe()),
            capabilities=capabilities_of(model),
            units={parts.card.name: self.task(parts).unit_of(model) for parts in tasks},
        )

    def answer(
        self,
        parts: TaskParts,
        spec: str,
        items: Sequence[Item],
        context: Context,
        num_threads: int,
    ) -> Answer:
        try:
            with task_code(), threads(num_threads):
                return Answer(outputs=ask(self.task(parts), self.model(spec), items, context))
        except TaskStopped as stop:
            return Answer(error=_sendable(stop.error))


class Scorer(Actor):
    def judge_of(self, parts: TaskParts) -> tuple[str, bool]:
        """The judge's identity, and whether it varies."""
        judge = self._judged(parts).the_judge
        return judge.identity, judge.varies

    def score(
        self, parts: TaskParts, samples: Sequence[Sample], outputs: Sequence[Output]
    ) -> tuple[list[Score], Exception | None]:
        """Scores, and the error that ended them where one did."""
        scores: list[Score] = []
        try:
            with task_code():
                scores.extend(self._judged(parts).judge(samples, outputs))
        except TaskStopped as stop:
            return scores, _sendable(stop.error)
        return scores, None

    def _judged(self, parts: TaskParts) -> Any:
        """The task, with its judge where it wants one."""
        task = self.task(parts)
        if isinstance(task, JudgedTask) and task.wants_judge and task.judged_by is None:
            task.use_judge(find_judge(task)(self.model))
        return task


@dataclass(frozen=True, kw_only=True)
class RemoteAsker:
    """Asks the model of a spec at many workers."""

    pool: Pool[Batch]
    spec: str
    num_threads: int

    def answers(
        self, task: Task, batches: deque[Batch], context: Context
    ) -> Iterator[tuple[Batch, Answer]]:
        parts = TaskParts.of(task)
        yield from self.pool.spread(
            batches,
            lambda worker, batch: worker.answer.remote(
                parts, self.spec, batch.items, context, self.num_threads
            ),
        )


@dataclass(frozen=True, kw_only=True)
class RemoteJudge:
    """A judge that scorers hold: the driver knows who it is, and asks it nothing."""

    identity: str
    varies: bool

    def answers(self, questions: Iterable[Question]) -> Iterator[Judgement]:
        raise NotImplementedError("scorers ask it")


@dataclass(frozen=True, kw_only=True)
class RemoteScorers:
    """Has outputs judged by many scorers."""

    pool: Pool[list[tuple[Sample, Output]]]

    def judge_of(self, task: Task) -> RemoteJudge:
        """Load the judge that a task names and say who it is."""
        identity, varies = self.pool.first("judge_of", TaskParts.of(task))
        return RemoteJudge(identity=identity, varies=varies)

    def scores(
        self, task: Task, samples: Sequence[Sample], outputs: Sequence[Output]
    ) -> Iterator[Score]:
        """Scores in the order in which they come. Raises what judging raised, once all that was
        sent has come back."""
        parts = TaskParts.of(task)
        jobs = deque(_portions(task, list(zip(samples, outputs, strict=True))))
        failed: Exception | None = None
        for _, (scores, error) in self.pool.spread(
            jobs, lambda scorer, job: scorer.score.remote(parts, *_sent(job))
        ):
            yield from scores
            if error is not None:
                failed = failed or error
                jobs.clear()
        if failed is not None:
            raise failed


def _portions(
    task: Task, rows: list[tuple[Sample, Output]]
) -> Iterator[list[tuple[Sample, Output]]]:
    """What is judged at once: all of it, or whole samples."""
    if task.scope == "set":
        yield rows
        return
    by_sample = [list(group) for _, group in groupby(rows, key=lambda row: row[0].id)]
    for start in range(0, len(by_sample), JUDGED_AT_ONCE):
        yield [row for group in by_sample[start : start + JUDGED_AT_ONCE] for row in group]


def _sent(rows: list[tuple[Sample, Output]]) -> tuple[list[Sample], list[Output]]:
    """Outputs with their pictures, which the other end may not have as files."""
    outputs = [
        replace(
            output,
            media={name: Picture(array=item.load()) for name, item in output.media.items()},
        )
        for _, output in rows
    ]
    return [sample for sample, _ in rows], outputs


def _sendable(error: Exception) -> Exception:
    """An error that survives being sent: of whatever class a defect is, with its traceback."""
    if isinstance(error, UserError):
        return error
    sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent
