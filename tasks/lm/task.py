"""`lm:TASK`: a task, group or tag of lm-eval, asked of our models and kept in our store."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from unimm_eval import stats
from unimm_eval.api import (
    Card,
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Sample,
    Score,
    Task,
    TaskConfig,
    UserError,
    canonical_json,
    make_samples,
)
from unimm_eval.tasks.child import Session
from unimm_eval.tasks.lm.harness import opened
from unimm_eval.tasks.lm.requests import Asked, answer
from unimm_eval.tasks.lm.summary import estimates, rebuilt, reported, specs, with_library

PREFIX = "lm:"
_AT_ONCE = 64
_EXCERPT = 600
_VERDICTS = ("acc", "exact_match")

_Row = Sequence[tuple[Sample, Output]]
"""A document, once for each of its repeats that there is."""


class LmConfig(TaskConfig):
    include_path: Path | None = Field(None, description="folder with YAML of tasks of yours")
    num_fewshot: int | None = Field(None, ge=0, description="examples in the prompt, if not fixed")
    fewshot_seed: int = Field(1234, description="which examples are drawn; lm-eval's default")
    gen_kwargs: dict[str, Any] = Field(
        {}, description="over the task's own: until, max_gen_toks, temperature, …"
    )
    cluster_by: str | None = Field(
        None, description="field of a row that rows of one cluster share (a passage)"
    )
    run_unsafe_code: bool = Field(False, description="whether code that a model writes may be run")
    bootstrap_iters: int = Field(
        1000, ge=0, description="draws of lm-eval's own errors; its default of 100000 takes minutes"
    )


class LmTask(Task):
    """What the card's name names behind `lm:`. Its metrics are lm-eval's, known once it is open."""

    Config: ClassVar[type[TaskConfig]] = LmConfig
    scope: ClassVar[Literal["sample", "repeats", "set"]] = "repeats"
    unpinned: ClassVar[frozenset[str]] = frozenset(
        {"limit", "include_path", "cluster_by", "run_unsafe_code", "bootstrap_iters"}
    )
    config: LmConfig

    def __init__(self, card: Card, config: TaskConfig, *, data_dir: Path) -> None:
        super().__init__(card, config, data_dir=data_dir)
        self._known: dict[str, Any] | UserError | None = None

    def requires(self) -> frozenset[str]:
        """Nothing that is known, where lm-eval does not have the task: `check` tells that."""
        try:
            tasks = self._facts["tasks"].values()
        except UserError:
            return frozenset()
        return frozenset(need for task in tasks for need in task["needs"])

    def check(self) -> None:
        """Let lm-eval make the task. Raises UserError when it cannot."""
        _ = self._facts

    def data_identity(self) -> str:
        """Hash of the rows and of lm-eval's settings of the task."""
        return str(self._facts["identity"])

    def samples(self) -> Iterator[Sample]:
        """One a document, of all tasks of a group in turn, with the texts that are asked."""
        with self._opened() as (child, _):
            rows = list(child.stream("documents"))
        repeats = [row.pop("repeats", 1) for row in rows]
        clusters = [row.pop("cluster") for row in rows]
        made = make_samples(zip(rows, clusters, strict=True))
        for sample, count in zip(made, repeats, strict=True):
            yield replace(sample, repeats=count)

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        usable = [item for item in items if "error" not in item.sample.inputs]
        asked = [
            Asked(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                texts=item.sample.inputs["texts"],
                requests=item.sample.inputs["requests"],
            )
            for item in usable
        ]
        for item, answered in zip(usable, answer(model, asked), strict=True):
            yield Output(
                sample_id=item.sample.id,
                repeat=item.repeat,
                values={"responses": answered.responses, "truncated": answered.truncated},
            )
        for item in items:
            if "error" in item.sample.inputs:
                yield Output(
                    sample_id=item.sample.id, repeat=item.repeat, error=item.sample.inputs["error"]
                )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """lm-eval's filters and metrics, document by document; a document's numbers stand with its
        first repeat."""
        rows: dict[str, list[tuple[Sample, Output]]] = {}
        for pair in zip(samples, outputs, strict=True):
            rows.setdefault(pair[0].id, []).append(pair)
        whole = [row for row in rows.values() if len(row) == row[0][0].repeats]
        with self._opened() as (child, facts):
            groups = _groups_by_task(facts)
            for some in _portions(whole):
                answered = [_answered(row) for row in some]
                judged = child.stream("judge", answered=answered)
                for row, asked, found in zip(some, answered, judged, strict=True):
                    yield from _scored(row, asked, found, groups.get(asked["task"], []))
        for row in rows.values():
            if len(row) != row[0][0].repeats:
                yield from _unscored(row, "another answer to the same question could not be had")

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """lm-eval's own results with our errors; without lm-eval where no errors are wanted."""
        if not stats.errors_wanted():
            return list(estimates(rebuilt(self._root, samples, scores), samples, scores).values())
        documents = [pair for pair in zip(samples, scores, strict=True) if pair[1].repeat == 0]
        scored = [(sample, score) for sample, score in documents if score.unscored is None]
        with self._opened() as (child, facts):
            theirs = child.call(
                "aggregate",
                answered=[
                    {
                        "task": sample.inputs["task"],
                        "doc": sample.inputs["doc"],
                        "responses": score.payload["responses"],
                    }
                    for sample, score in scored
                ],
                bootstrap_iters=self.config.bootstrap_iters,
            )
        rows = reported(facts, theirs)
        self.card = self.card.model_copy(update={"metrics": specs(rows)})
        ours = estimates(rows, samples, scores)
        metrics = with_library(rows, ours, theirs, samples=samples, scores=scores)
        noted = _noted(facts, [score for _, score in scored])
        return [replace(metric, facts={**metric.facts, **noted}) for metric in metrics]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        if "texts" not in inputs:
            return Exhibit(group=inputs["task"], prompt="", note=output.error or "")
        text = inputs["texts"][0]
        verdict = next((v for k, v in score.values.items() if k.startswith(_VERDICTS)), None)
        return Exhibit(
            group=inputs["task"],
            prompt=("…" if len(text) > _EXCERPT else "") + text[-_EXCERPT:],
            answer=_shown(inputs["requests"], output.values.get("responses", [])),
            expected=inputs["expected"],
            correct=None if verdict is None else verdict == 1.0,
            note=score.unscored or "",
            facts=dict(score.values),
        )

    @property
    def _root(self) -> str:
        """The task as lm-eval calls it."""
        return self.card.name.removeprefix(PREFIX)

    def _opened(self) -> AbstractContextManager[tuple[Session, dict[str, Any]]]:
        config = self.config
        path = None if config.include_path is None else config.include_path.expanduser().resolve()
        if path is not None and not path.is_dir():
            raise UserError(
                f"{config.include_path} is no folder.",
                fix=f"--set {self.card.name}.include_path=FOLDER, where the YAML of the task is",
            )
        return opened(
            self._root,
            {
                "include_path": None if path is None else str(path),
                "num_fewshot": config.num_fewshot,
                "fewshot_seed": config.fewshot_seed,
                "gen_kwargs": config.gen_kwargs,
                "cluster_by": config.cluster_by,
                "run_unsafe_code": config.run_unsafe_code,
            },
        )

    @property
    def _facts(self) -> dict[str, Any]:
        """What the task is. Raises the same UserError however often it is asked for."""
        if self._known is None:
            try:
                with self._opened() as (child, facts):
                    self._known = {**facts, "identity": child.call("identity")}
            except UserError as error:
                self._known = error
        if isinstance(self._known, UserError):
            raise self._known
        return self._known


def _portions(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    for start in range(0, len(rows), _AT_ONCE):
        yield rows[start : start + _AT_ONCE]


def _answered(row: _Row) -> dict[str, Any]:
    """A document with the responses of its repeats, as the child takes it."""
    inputs = row[0][0].inputs
    outputs = sorted((output for _, output in row), key=lambda output: output.repeat)
    return {
        "task": inputs["task"],
        "doc": inputs["doc"],
        "responses": [output.values["responses"] for output in outputs],
    }


def _scored(
    row: _Row, asked: Mapping[str, Any], found: Mapping[str, Any], groups: Sequence[Any]
) -> Iterator[Score]:
    if "error" in found:
        yield from _unscored(row, found["error"])
        return
    cut = [output.values["truncated"] for _, output in row]
    payload = {
        "parts": found["parts"],
        "groups": groups,
        "responses": asked["responses"],
        "truncated": None if None in cut else sum(cut),
    }
    values = {
        key.removesuffix(",none"): numbers[0]
        for key, (kind, *numbers) in found["parts"].items()
        if kind == "mean" and math.isfinite(numbers[0])
    }
    for _, output in row:
        whose: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
        if output.repeat == 0:
            yield Score(**whose, values=values, payload=payload)
        else:
            yield Score(**whose)


def _unscored(row: _Row, reason: str) -> Iterator[Score]:
    for _, output in row:
        yield Score(sample_id=output.sample_id, repeat=output.repeat, unscored=reason)


def _groups_by_task(facts: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """The groups' means that a task is part of, for whoever has the scores and not lm-eval."""
    found: dict[str, list[list[Any]]] = {}
    for name, group in facts["groups"].items():
        means = [[name, mean["metric"], mean["filter"], mean["by_size"]] for mean in group["means"]]
        for task in group["tasks"]:
            found.setdefault(task, []).extend(means)
    return found


def _noted(facts: Mapping[str, Any], scores: Sequence[Score]) -> dict[str, Any]:
    """What a reader of a number should know: contexts that were cut, examples, stops."""
    tasks = facts["tasks"].values()
    cut = [score.payload["truncated"] for score in scores]
    stops = {canonical_json(task["stop"]): task["stop"] for task in tasks if "stop" in task}
    return {
        "num_fewshot": sorted({task["num_fewshot"] for task in tasks}),
        **({} if None in cut else {"contexts_cut": sum(cut)}),
        **({"stop": list(stops.values())} if stops else {}),
        **({"stop_assumed": True} if any("stop_assumed" in task for task in tasks) else {}),
    }


def _shown(requests: Sequence[Sequence[Any]], responses: Sequence[Any]) -> str:
    """The text that was written, or the continuation that was found likeliest."""
    pairs = list(zip(requests, responses, strict=False))
    if texts := [response for _, response in pairs if isinstance(response, str)]:
        return texts[0]
    rated = [(response[0], request[2]) for request, response in pairs if len(request) > 2]
    return max(rated)[1] if len(rated) > 1 else ""
