"""Where a run happens: in this process, or on a cluster. Both give the same numbers."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from unimm_eval.api import Model, Output, Sample, Score, Task, capabilities_of
from unimm_eval.engine.ask import Asker, LocalAsker
from unimm_eval.engine.judging import MakeJudge
from unimm_eval.engine.pool import ClusterOptions, Pool, cluster
from unimm_eval.engine.preflight import Subject
from unimm_eval.engine.registry import find_adapter
from unimm_eval.engine.remote import (
    RemoteAsker,
    RemoteScorers,
    Scorer,
    TaskParts,
    Worker,
    check_sendable,
)
from unimm_eval.judges import Judge


class Executor(Protocol):
    """Holds the models of a run and asks them."""

    @property
    def overlap(self) -> bool:
        """Whether outputs are judged while more of them are made."""

    @property
    def threads(self) -> int | None:
        """Of each who asks, where it is not as many as this process has."""

    def load(self, subject: Subject, tasks: Sequence[Task]) -> Model:
        """The model, or what stands for it here; `tasks` will ask it."""

    def unit_of(self, subject: Subject, task: Task) -> Mapping[str, Any]:
        """What of the loaded model a task's numbers are measured in."""

    def asker(self, subject: Subject, *, threads: int) -> Asker:
        """Who asks the loaded model."""

    def judge_of(self, task: Task, make: MakeJudge) -> Judge:
        """The judge of a task, loaded. A model that is under test too is loaded once."""

    def scores(
        self, task: Task, samples: Sequence[Sample], outputs: Sequence[Output]
    ) -> Iterable[Score]:
        """What the task's judging says."""


class Here:
    """In this process, one thing after the other."""

    overlap = False
    threads: int | None = None

    def __init__(self, *, device: str, dtype: str) -> None:
        self._device, self._dtype = device, dtype
        self._models: dict[str, Model] = {}

    def load(self, subject: Subject, tasks: Sequence[Task]) -> Model:
        self._models[subject.spec] = subject.load(self._device, self._dtype)
        return self._models[subject.spec]

    def unit_of(self, subject: Subject, task: Task) -> Mapping[str, Any]:
        return task.unit_of(self._models[subject.spec])

    def asker(self, subject: Subject, *, threads: int) -> Asker:
        return LocalAsker(model=self._models[subject.spec])

    def judge_of(self, task: Task, make: MakeJudge) -> Judge:
        return make(self._judging)

    def scores(
        self, task: Task, samples: Sequence[Sample], outputs: Sequence[Output]
    ) -> Iterable[Score]:
        return task.judge(samples, outputs)

    def _judging(self, spec: str) -> Model:
        if spec not in self._models:
            self._models[spec] = find_adapter(spec).load(
                spec, device=self._device, dtype=self._dtype
            )
        return self._models[spec]


class OnCluster:
    """By actors of a Ray cluster: workers answer, and scorers judge, or this process where there
    are none."""

    overlap = True

    def __init__(self, options: ClusterOptions, *, device: str, dtype: str) -> None:
        arguments = {"folder": os.getcwd(), "device": device, "dtype": dtype}
        self._here = Here(device=device, dtype=dtype)
        self._workers: Pool[Any] = Pool(
            Worker,
            arguments,
            count=options.workers,
            cpus=options.worker_cpus,
            gpus=options.worker_gpus,
        )
        self._scorers: RemoteScorers | None = None
        if options.scorers:
            self._scorers = RemoteScorers(
                pool=Pool(
                    Scorer,
                    arguments,
                    count=options.scorers,
                    cpus=options.scorer_cpus,
                    gpus=options.scorer_gpus,
                )
            )
        self.threads: int | None = max(1, int(options.worker_cpus))
        self._units: dict[tuple[str, str], Mapping[str, Any]] = {}

    def load(self, subject: Subject, tasks: Sequence[Task]) -> Model:
        parts = [TaskParts.of(task) for task in tasks]
        model = self._workers.first("describe", subject.spec, parts)
        self._units |= {(subject.spec, task): unit for task, unit in model.units.items()}
        loaded: Model = model
        return loaded

    def unit_of(self, subject: Subject, task: Task) -> Mapping[str, Any]:
        return self._units[subject.spec, task.card.name]

    def asker(self, subject: Subject, *, threads: int) -> Asker:
        return RemoteAsker(pool=self._workers, spec=subject.spec, num_threads=threads)

    def judge_of(self, task: Task, make: MakeJudge) -> Judge:
        if self._scorers is None:
            return self._here.judge_of(task, make)
        return self._scorers.judge_of(task)

    def scores(
        self, task: Task, samples: Sequence[Sample], outputs: Sequence[Output]
    ) -> Iterable[Score]:
        # Arrays are files of this machine, and may be more than memory holds: they stay here.
        stay = any(output.arrays for output in outputs)
        scorer = self._here if stay or self._scorers is None else self._scorers
        return scorer.scores(task, samples, outputs)


@contextmanager
def executor(
    options: ClusterOptions | None,
    *,
    subjects: Sequence[Subject],
    tasks: Sequence[Task],
    device: str,
    dtype: str,
) -> Iterator[Executor]:
    """This process without options of a cluster. Raises UserError where the cluster cannot be had,
    or something of the run cannot be sent to it."""
    if options is None:
        yield Here(device=device, dtype=dtype)
        return
    check_sendable(subjects, tasks)
    with cluster(options):
        yield OnCluster(options, device=device, dtype=dtype)


def capabilities_there(model: Model) -> frozenset[str]:
    """What a loaded model can do, wherever it is."""
    return getattr(model, "capabilities", None) or capabilities_of(model)
