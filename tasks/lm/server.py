"""The side that has lm-eval: documents as requests, and responses as numbers.

Imported by the server of `unimm_eval.tasks.child` alone. Tasks are made, prompted, filtered, scored
and aggregated by lm-eval's own code; no model comes here.
"""

import difflib
import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from lm_eval.api import metrics
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from unimm_eval.api import UserError

NAME = "lm-eval"
KINDS = {
    metrics.mean: "mean",
    metrics.perplexity: "perplexity",
    metrics.weighted_perplexity: "weighted_perplexity",
    metrics.bits_per_byte: "bits_per_byte",
}
"""Aggregations that our error bars know; lm-eval's mean is also what a metric without one gets."""
_NEEDS = {
    "loglikelihood": ["ScoresText"],
    "loglikelihood_rolling": ["ScoresText"],
    "multiple_choice": ["ScoresText"],
    "generate_until": ["GeneratesText"],
}
_SHOWN = 300
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Session:
    """One task, group or tag, as it is after `open`."""

    index: Mapping[str, Any] = {}
    """lm-eval's own tasks; empty where only those of an `include_path` are looked at."""

    def open(
        self,
        *,
        task: str,
        include_path: str | None,
        num_fewshot: int | None,
        fewshot_seed: int,
        gen_kwargs: Mapping[str, Any],
        cluster_by: str | None,
        run_unsafe_code: bool,
    ) -> dict[str, Any]:
        """What the task is: its parts, metrics and needs; `{"found": False}` where lm-eval's own
        tasks would have to be looked at. Raises UserError."""
        manager = TaskManager(include_path=include_path, include_defaults=False)
        for name, entry in self.index.items():
            manager.task_index.setdefault(name, entry)
        if task not in manager.task_index:
            if not self.index:
                return {"found": False}
            close = difflib.get_close_matches(task, manager.task_index, n=3, cutoff=0.6)
            near = f" (did you mean {' or '.join(close)}?)" if close else ""
            raise UserError(
                f"lm-eval has no task {task!r}{near}.",
                fix=f"`lm-eval ls tasks` lists them; --set lm:{task}.include_path=FOLDER adds "
                "tasks of yours.",
            )
        _seed()
        try:
            loaded = manager.load([task])
        except Exception:
            if not self.index:  # a group of yours may have members of lm-eval's
                return {"found": False}
            raise
        self._tasks: dict[str, Any] = loaded["tasks"]
        self._groups: dict[str, Any] = loaded.get("groups", {})
        self._cluster_by = cluster_by
        self._assumed = {
            name: _assumes_stop(manager.task_index.get(name), gen_kwargs) for name in self._tasks
        }
        for name, one in self._tasks.items():
            _check(task, name, one, run_unsafe_code=run_unsafe_code)
            _configure(one, num_fewshot=num_fewshot, seed=fewshot_seed, gen_kwargs=gen_kwargs)
        self._docs = {name: one.eval_docs for name, one in self._tasks.items()}
        return {
            "found": True,
            "root": task,
            "tasks": {name: self._facts(name) for name in self._tasks},
            "groups": {name: self._group_facts(group) for name, group in self._groups.items()},
        }

    def identity(self) -> str:
        """Hash of what is asked and how it is scored: the documents and the settings of all tasks,
        but for where the data lie."""
        digest = hashlib.sha256()
        for name in sorted(self._tasks):
            config = dict(self._tasks[name].dump_config())
            for place in ("dataset_path", "dataset_name", "dataset_kwargs"):
                config.pop(place, None)
            digest.update(_canonical([name, config]))
            for doc in self._docs[name]:
                digest.update(_canonical(doc))
        for name in sorted(self._groups):
            digest.update(_canonical([name, self._group_facts(self._groups[name])]))
        return digest.hexdigest()[:16]

    def documents(self) -> Iterator[dict[str, Any]]:
        """The first document of every task, then the second of each, and so on: a few of them are
        a few of each. One that cannot be asked about carries an `error`."""
        for row in zip_longest(*(self._documents_of(name) for name in self._tasks)):
            yield from (document for document in row if document is not None)

    def judge(self, *, answered: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Metrics of documents, each by `task`, `doc` and the `responses` of its repeats, as
        [kind, number, …] by metric and filter."""
        for document in answered:
            task = self._tasks[document["task"]]
            instances = self._instances(document)
            doc = instances[0].doc
            found: dict[str, Any] = {}
            try:
                for ensemble in task._filters:
                    ensemble.apply(instances)
                for name in instances[0].filtered_resps:
                    results = [one.filtered_resps[name] for one in instances]
                    for metric, value in task.process_results(doc, results).items():
                        found[f"{metric},{name}"] = self._part(task, metric, value)
            except Exception as error:  # noqa: BLE001 - one bad row: told, and the others go on
                yield {"error": f"lm-eval cannot score it: {_told(error)}"}
            else:
                yield {"parts": found}

    def aggregate(
        self, *, answered: list[dict[str, Any]], bootstrap_iters: int
    ) -> list[dict[str, Any]]:
        """lm-eval's own results for these documents, as `evaluate` gives them."""
        by_task: dict[str, list[dict[str, Any]]] = {}
        for document in sorted(answered, key=lambda one: one["doc"]):
            by_task.setdefault(document["task"], []).append(document)
        for name, documents in by_task.items():
            self._replay(self._tasks[name], documents)
        _seed()
        found = evaluate(
            lm=_Replay(),
            task_dict={
                "tasks": {name: self._tasks[name] for name in self._tasks if name in by_task},
                "groups": self._groups,
            },
            bootstrap_iters=bootstrap_iters,
            log_samples=False,
            confirm_run_unsafe_code=True,  # asked for when the task was opened
        )
        return [row for name, values in found["results"].items() for row in _rows(name, values)]

    def _facts(self, name: str) -> dict[str, Any]:
        task = self._tasks[name]
        better = task.higher_is_better()
        filters = [ensemble.name for ensemble in task._filters]
        stop = (task.get_config("generation_kwargs") or {}).get("until")
        return {
            "documents": len(self._docs[name]),
            "needs": _NEEDS.get(task.OUTPUT_TYPE, ["GeneratesText", "ScoresText"]),
            "metrics": [
                {
                    "metric": metric,
                    "filter": kept,
                    "kind": self._kind(task, metric),
                    "higher": better.get(metric, True) is not False,
                }
                for kept in filters
                for metric in task.aggregation()
            ],
            "num_fewshot": task.get_config("num_fewshot"),
            "version": task.VERSION,
            **({"stop": stop} if task.OUTPUT_TYPE == "generate_until" else {}),
            **({"stop_assumed": True} if self._assumed[name] else {}),
        }

    def _group_facts(self, group: Any) -> dict[str, Any]:
        """Members, and which of their metrics are averaged how."""
        members = [task.task_name for task in group.get_all_tasks()]
        having: dict[str, set[str]] = {}
        for name in members:
            for row in self._facts(name)["metrics"]:
                having.setdefault(row["metric"], set()).add(row["filter"])
        return {
            "tasks": members,
            "means": [
                {"metric": mean.metric, "filter": kept, "by_size": bool(mean.weight_by_size)}
                for mean in group.aggregate_metric_list or []
                for kept in mean.filter_list or sorted(having.get(mean.metric, ()))
            ],
        }

    def _documents_of(self, name: str) -> Iterator[dict[str, Any]]:
        """As lm-eval's `build_all_requests` makes them, one after the other."""
        task = self._tasks[name]
        for number, doc in enumerate(self._docs[name]):
            found: dict[str, Any] = {"task": name, "doc": number}
            try:
                found |= self._asked(task, number, doc)
            except Exception as error:  # noqa: BLE001 - one bad row: told, and the others go on
                found |= {
                    "cluster": f"{name}/{number}",
                    "error": f"row {number} of {name} cannot be asked about: {_told(error)}",
                }
            yield found

    def _asked(self, task: Any, number: int, doc: Any) -> dict[str, Any]:
        context = task.fewshot_context(
            doc,
            num_fewshot=task.config.num_fewshot or 0,
            system_instruction=None,
            apply_chat_template=False,
            fewshot_as_multiturn=False,
            chat_template=None,
            gen_prefix=task.doc_to_prefix(doc),
        )
        made = task.construct_requests(
            doc=doc,
            ctx=context,
            metadata=(task.config.task, number, task.config.repeats),
            apply_chat_template=False,
            chat_template=None,
        )
        instances = sorted(made if isinstance(made, list) else [made], key=lambda one: one.idx)
        texts: dict[str, int] = {}
        requests = []
        for one in instances:
            text, *rest = one.args
            if not isinstance(text, str):
                raise TypeError(f"its prompt is no text but {text!r}")
            requests.append([one.request_type, texts.setdefault(text, len(texts)), *rest])
        return {
            "texts": list(texts),
            "requests": requests,
            "repeats": instances[0].repeats or 1,
            "expected": _expected(task, doc),
            "cluster": self._cluster(task, number, doc),
        }

    def _cluster(self, task: Any, number: int, doc: Any) -> str:
        """What the document shares with others, where that is known."""
        field = self._cluster_by or (task.get_config("metadata") or {}).get("cluster_key")
        return f"{task.task_name}/{number if field is None else doc[field]}"

    def _instances(self, document: Mapping[str, Any]) -> list[Any]:
        """Its requests, answered; what was asked is of no interest any more."""
        task = self._tasks[document["task"]]
        doc = self._docs[document["task"]][document["doc"]]
        repeats = document["responses"]
        return [
            Instance(
                request_type="loglikelihood" if isinstance(first, list) else "generate_until",
                doc=doc,
                arguments=("",),
                idx=position,
                metadata=(task.task_name, document["doc"], len(repeats)),
                resps=[_response(one[position]) for one in repeats],
            )
            for position, first in enumerate(repeats[0])
        ]

    def _replay(self, task: Any, documents: list[dict[str, Any]]) -> None:
        """Let `evaluate` find these documents, and `_Replay` their responses."""
        instances = [self._instances(document) for document in documents]
        task._instances = [one for row in instances for one in row]
        for one in task._instances:
            one.replayed, one.resps = iter(one.resps), []
        rows = [(row[0].doc_id, row[0].doc) for row in instances]
        task.build_all_requests = lambda **kwargs: None
        task.doc_iterator = lambda **kwargs: iter(rows)

    def _kind(self, task: Any, metric: str) -> str:
        aggregation = task.aggregation().get(metric, metrics.mean)
        return "other" if isinstance(aggregation, partial) else KINDS.get(aggregation, "other")

    def _part(self, task: Any, metric: str, value: Any) -> list[Any]:
        """What a document adds to a metric, as far as our error bars can use it."""
        kind = self._kind(task, metric)
        numbers = value if isinstance(value, tuple | list) else (value,)
        if kind == "other" or len(numbers) != (
            2 if kind in ("weighted_perplexity", "bits_per_byte") else 1
        ):
            return ["other"]
        try:
            return [kind, *(float(number) for number in numbers)]
        except (TypeError, ValueError):
            return ["other"]


class _Replay(LM):
    """Answers with what was answered before."""

    def loglikelihood(self, requests: list[Any]) -> list[Any]:
        return [next(request.replayed) for request in requests]

    loglikelihood_rolling = generate_until = loglikelihood


def _response(value: Any) -> Any:
    """As lm-eval's models return it; a document's whole log-likelihood is a bare number."""
    return tuple(value) if isinstance(value, list) else value


def _seed() -> None:
    """As lm-eval seeds its own runs, for what tasks draw."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)


def _check(wanted: str, name: str, task: Any, *, run_unsafe_code: bool) -> None:
    if getattr(task, "MULTIMODAL", False):
        raise UserError(
            f"lm:{wanted} cannot be run: {name} shows pictures or plays sounds.",
            fix="Tasks with pictures run through lmms-eval: lmms:NAME.",
        )
    if getattr(task, "UNSAFE_CODE", False) and not run_unsafe_code:
        raise UserError(
            f"lm:{wanted} runs code that the model writes ({name}).",
            fix=f"If this machine may run it: --set lm:{wanted}.run_unsafe_code=true",
        )


def _configure(
    task: Any, *, num_fewshot: int | None, seed: int, gen_kwargs: Mapping[str, Any]
) -> None:
    """As `simple_evaluate` does: a task that fixes 0 examples keeps them."""
    if gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(gen_kwargs), update=True)
    fixed = task.get_config("num_fewshot")
    if num_fewshot is not None and fixed != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif fixed is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=seed)


def _assumes_stop(entry: Any, gen_kwargs: Mapping[str, Any]) -> bool:
    """Whether a task that writes text says nothing of where to stop, so that lm-eval lets it stop
    where its examples are apart."""
    config = getattr(entry, "cfg", None) or {}
    if config.get("output_type", "generate_until") != "generate_until" or "class" in config:
        return False
    return "until" not in {**(config.get("generation_kwargs") or {}), **gen_kwargs}


def _expected(task: Any, doc: Any) -> str:
    """The right answer, for a reader."""
    target = task.doc_to_target(doc)
    if isinstance(target, int) and task.get_config("doc_to_choice") is not None:
        choices = task.doc_to_choice(doc)
        target = choices[target] if 0 <= target < len(choices) else target
    return str(target)[:_SHOWN]


def _rows(name: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The numbers of a task or group in lm-eval's table."""
    for key, value in values.items():
        metric, comma, kept = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        error = values.get(f"{metric}_stderr,{kept}")
        yield {
            "name": name,
            "metric": metric,
            "filter": kept,
            "value": _number(value),
            "stderr": _number(error),
        }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float | np.number) else None


def _canonical(value: Any) -> bytes:
    """Equal for equal values in different processes: no function by where it is in memory."""
    return _ADDRESS.sub("", json.dumps(value, sort_keys=True, default=str)).encode()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_SHOWN]
