"""A pool of equal actors in a Ray cluster, and jobs that are spread over them.

At most two jobs wait at one actor, so that little is lost with it. An actor that dies is started
again, here or on another node, and its jobs are given out anew: whoever takes the results must not
mind which actor they are from, nor in which order they come.
"""

import logging
import os
import secrets
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unimm_eval.api import IncompleteError, UserError

IN_FLIGHT = 2
"""Jobs at one actor: one being done and one waiting, so that it is never idle."""
MOST_DEATHS = 10
"""How often a job may be at an actor when it dies, before the job is blamed for it."""
PATIENCE_SECONDS = 900.0
"""How long no actor at all may be there before the run gives up."""

Job = TypeVar("Job")
Resources = Mapping[str, float]
"""Amounts by kind, "CPU" and "GPU"."""


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Who answers and who judges, what each needs, and where. Without an `address` a cluster is
    started on this machine, for as long as the run lasts; without `scorers` the driver judges."""

    workers: int = 1
    worker_cpus: float = 1.0
    worker_gpus: float = 0.0
    scorers: int = 0
    scorer_cpus: float = 1.0
    scorer_gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        amounts = (self.worker_cpus, self.worker_gpus, self.scorer_cpus, self.scorer_gpus)
        if self.workers < 1 or self.scorers < 0 or min(amounts) < 0 or self.worker_cpus == 0:
            raise UserError(
                f"{self.workers} workers and {self.scorers} scorers of (CPUs, GPUs) {amounts[:2]} "
                f"and {amounts[2:]} cannot be had.",
                fix="Give at least one worker, and no negative amounts.",
            )

    @property
    def needs(self) -> Sequence[Resources]:
        """What each actor needs, whole on one node."""
        worker = {"CPU": self.worker_cpus, "GPU": self.worker_gpus}
        scorer = {"CPU": self.scorer_cpus, "GPU": self.scorer_gpus}
        return [worker] * self.workers + [scorer] * self.scorers


class Pool(Generic[Job]):
    """Actors of one class, each made with the same arguments."""

    def __init__(
        self,
        kind: type,
        arguments: Mapping[str, Any],
        *,
        count: int,
        cpus: float,
        gpus: float,
    ) -> None:
        import ray

        actor: Any = ray.remote(kind).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0
        )
        self._actors = [actor.remote(**arguments) for _ in range(count)]

    def first(self, method: str, *arguments: Any) -> Any:
        """What one of the actors answers. Raises what its method raised."""
        import ray

        try:
            return ray.get(getattr(self._actors[0], method).remote(*arguments))
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None
        except ray.exceptions.RayActorError as error:
            raise IncompleteError(
                f"An actor died: {_first_line(error)}",
                fix="The same command tries again; a larger one may have the memory.",
            ) from error

    def spread(
        self, jobs: deque[Job], submit: Callable[[Any, Job], Any]
    ) -> Iterator[tuple[Job, Any]]:
        """Jobs with their results, in the order in which these come.

        Jobs are taken from the left of `jobs` when an actor has room, and handed to it by `submit`
        (actor, job) → reference; who empties `jobs` ends it, but for what was handed out already.
        Raises IncompleteError when no actor is left, or a job kills every one.
        """
        import ray
        from ray.exceptions import RayActorError

        given: dict[Any, tuple[int, Job]] = {}
        returning: dict[Any, int] = {}  # actors that died, by the call that they will answer
        deaths: Counter[int] = Counter()
        there_at = time.monotonic()
        while jobs or given:
            load = Counter(number for number, _ in given.values())
            away = set(returning.values())
            for number, actor in enumerate(self._actors):
                while jobs and number not in away and load[number] < IN_FLIGHT:
                    job = jobs.popleft()
                    given[submit(actor, job)] = number, job
                    load[number] += 1
            if len(away) < len(self._actors):
                there_at = time.monotonic()
            elif time.monotonic() - there_at > PATIENCE_SECONDS:
                raise IncompleteError(
                    f"All actors died, and none came back within {PATIENCE_SECONDS:g} s.",
                    fix="Everything that was finished is kept; the same command continues.",
                )
            done, _ = ray.wait([*given, *returning], num_returns=1, timeout=10.0)
            for ref in done:
                if ref in returning:
                    number = returning.pop(ref)
                    if not _answers(ref):
                        returning[self._knock(number)] = number
                    continue
                number, job = given.pop(ref)
                try:
                    result = ray.get(ref)
                except RayActorError as error:
                    deaths[id(job)] += 1
                    if deaths[id(job)] > MOST_DEATHS:
                        raise IncompleteError(
                            f"{deaths[id(job)]} actors died with the same work: "
                            f"{_first_line(error)}",
                            fix="Everything that was finished is kept. Use a smaller --batch-size.",
                        ) from error
                    jobs.appendleft(job)
                    if number not in returning.values():
                        returning[self._knock(number)] = number
                    continue
                yield job, result

    def _knock(self, number: int) -> Any:
        """A call that is answered once the actor is there again."""
        return self._actors[number].process.options(max_task_retries=-1).remote()


def _answers(ref: Any) -> bool:
    import ray

    try:
        ray.get(ref)
    except ray.exceptions.RayActorError:
        return False
    return True


@contextmanager
def cluster(options: ClusterOptions) -> Iterator[None]:
    """A connection to the cluster; one that was started for it ends with it, and so do all actors.

    Raises UserError without Ray, without a cluster at the address, and when the actors could never
    fit the machine or the cluster; IncompleteError when others leave no room for any.
    """
    if options.address is None:
        _check_room(options, [_this_machine()], where="this machine")
    _connect(options)
    import ray

    try:
        if options.address is not None:
            joined: Any = ray  # whose functions are not all annotated
            nodes = [node["Resources"] for node in joined.nodes() if node["Alive"]]
            _check_room(options, nodes, where=f"the cluster at {options.address}")
            _check_free(options.needs[0], joined.available_resources())
        yield
    finally:
        ray.shutdown()


def _connect(options: ClusterOptions) -> None:
    settings: dict[str, Any] = {"address": options.address}
    if "ray" not in sys.modules:  # it reads these once, when it is imported
        # Without a token a cluster runs the code of whoever reaches its port.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if options.address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if options.address is None:
        settings = {"include_dashboard": False, "num_cpus": int(_this_machine()["CPU"])}
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "The executor ray needs Ray, which is not installed.",
            fix='pip install "unimm-eval[ray]"',
        ) from error
    # Actors import what the driver imports, plug-ins that are not installed too.
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if os.path.isdir(entry))
    try:
        ray.init(
            **settings,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
            logging_level=logging.ERROR,
            configure_logging=False,
            log_to_driver=False,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"at {options.address}" if options.address else "on this machine"
        raise UserError(
            f"There is no Ray cluster {where}: {_first_line(error)}",
            fix="Check --address, and RAY_AUTH_TOKEN, which must be the cluster's.",
        ) from error


def _this_machine() -> Resources:
    """What Ray would find here."""
    import torch

    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {"CPU": float(cpus), "GPU": float(torch.cuda.device_count())}


def _check_room(options: ClusterOptions, nodes: Sequence[Resources], *, where: str) -> None:
    """Raise UserError when the actors do not fit the nodes even if nobody else uses them. The
    largest are placed first, each on the first node that has room."""
    free = [dict(node) for node in nodes]
    largest_first = sorted(options.needs, key=lambda need: (need["GPU"], need["CPU"]), reverse=True)
    for need in largest_first:
        for node in free:
            if all(node.get(kind, 0.0) >= amount for kind, amount in need.items()):
                for kind, amount in need.items():
                    node[kind] = node.get(kind, 0.0) - amount
                break
        else:
            has = " and ".join(
                f"{sum(node.get(kind, 0.0) for node in nodes):g} {kind}s" for kind in need
            )
            raise UserError(
                f"{options.workers} workers of {options.worker_cpus:g} CPUs and "
                f"{options.worker_gpus:g} GPUs and {options.scorers} scorers of "
                f"{options.scorer_cpus:g} and {options.scorer_gpus:g} do not fit {where}, which "
                f"has {has}.",
                fix="Ask for fewer, or for less of each.",
            )


def _check_free(need: Resources, free: Resources) -> None:
    """Raise IncompleteError when not even one worker fits what others leave of the cluster."""
    if short := [kind for kind, amount in need.items() if free.get(kind, 0.0) < amount]:
        raise IncompleteError(
            f"The cluster has no room for a worker now: others leave "
            f"{', '.join(f'{free.get(kind, 0.0):g} {kind}s' for kind in short)}.",
            fix="Try again later, or ask for smaller workers.",
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
