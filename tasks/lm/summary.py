"""The numbers of an lm-eval task: lm-eval's own, with errors clustered by what documents share.

A document adds a part to each of its metrics, [kind, number, …]. Of the kinds known here, the
metric is made again from its parts: this gives its error, and its value wherever lm-eval is not
asked (a comparison makes a summary hundreds of times).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Metric, Sample, Score, UserError
from unimm_eval.api.tasks import MetricSpec

_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Row:
    """A number in lm-eval's table: of a task, or the mean of a group's tasks.

    `by_size` tells how a group's mean weighs its tasks: by their documents, or alike.
    """

    tasks: tuple[str, ...]
    owner: str
    metric: str
    filter: str
    kind: str
    higher: bool
    by_size: bool | None = None

    @property
    def key(self) -> str:
        return f"{self.metric},{self.filter}"


def table(facts: Mapping[str, Any]) -> dict[str, Row]:
    """All numbers by name: those of what was asked for as lm-eval calls them (`acc`,
    `exact_match,strict-match`), those of its parts behind the part's name (`mmlu_anatomy/acc`)."""
    rows: dict[str, Row] = {}
    tasks = facts["tasks"]
    for owner in _outermost_first(facts):
        group = facts["groups"][owner]
        for mean in group["means"]:
            found = [
                row
                for name in group["tasks"]
                for row in tasks[name]["metrics"]
                if (row["metric"], row["filter"]) == (mean["metric"], mean["filter"])
            ]
            kinds = {row["kind"] for row in found}
            row = Row(
                tasks=tuple(group["tasks"]),
                owner=owner,
                metric=mean["metric"],
                filter=mean["filter"],
                kind=kinds.pop() if len(kinds) == 1 else "other",
                higher=all(row["higher"] for row in found),
                by_size=mean["by_size"],
            )
            rows[_name(row, facts["root"])] = row
    for owner, task in tasks.items():
        for found in task["metrics"]:
            row = Row(tasks=(owner,), owner=owner, **found)
            rows[_name(row, facts["root"])] = row
    return rows


def reported(facts: Mapping[str, Any], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    """The numbers that lm-eval reported, in the order of the task's own list; a metric that it
    found only while scoring is a mean."""
    there = {(row["name"], row["metric"], row["filter"]) for row in theirs}
    known = table(facts)
    rows = {
        name: row for name, row in known.items() if (row.owner, row.metric, row.filter) in there
    }
    listed = {(row.owner, row.metric, row.filter) for row in rows.values()}
    for owner, metric, kept in (key for key in sorted(there) if key not in listed):
        tasks = facts["groups"][owner]["tasks"] if owner in facts["groups"] else [owner]
        row = Row(
            tasks=tuple(tasks),
            owner=owner,
            metric=metric,
            filter=kept,
            kind="other" if owner in facts["groups"] else "mean",
            higher=True,
        )
        rows[_name(row, facts["root"])] = row
    return rows


def rebuilt(root: str, samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Row]:
    """The numbers that can be made from scores alone, without lm-eval."""
    rows: dict[str, Row] = {}
    members: dict[tuple[str, str, str, bool], dict[str, str]] = {}
    for sample, score in zip(samples, scores, strict=True):
        if "parts" not in score.payload:
            continue
        task = sample.inputs["task"]
        for key, (kind, *_) in score.payload["parts"].items():
            metric, _, kept = key.rpartition(",")
            row = Row(tasks=(task,), owner=task, metric=metric, filter=kept, kind=kind, higher=True)
            rows[_name(row, root)] = row
            for owner, mean, mean_filter, by_size in score.payload["groups"]:
                if (mean, mean_filter) == (metric, kept):
                    members.setdefault((owner, metric, kept, by_size), {})[task] = kind
    for (owner, metric, kept, by_size), kinds in members.items():
        alike = set(kinds.values())
        row = Row(
            tasks=tuple(kinds),
            owner=owner,
            metric=metric,
            filter=kept,
            kind=alike.pop() if len(alike) == 1 else "other",
            higher=True,
            by_size=by_size,
        )
        rows[_name(row, root)] = row
    return rows


def specs(rows: Mapping[str, Row]) -> dict[str, MetricSpec]:
    """What a card says of each number."""
    return {
        name: MetricSpec(
            direction="higher" if row.higher else "lower",
            unit="bits" if row.kind == "bits_per_byte" else "",
            range=_range(row),
            description=f"lm-eval's {row.key} of {row.owner}",
        )
        for name, row in rows.items()
    }


def estimates(
    rows: Mapping[str, Row], samples: Sequence[Sample], scores: Sequence[Score]
) -> dict[str, Metric]:
    """Every number that the parts of the documents make, with its error."""
    parts: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    unscored: dict[str, int] = {}
    for sample, score in zip(samples, scores, strict=True):
        if score.repeat != 0:  # all repeats of a document are scored together, with its first
            continue
        task = sample.inputs["task"]
        if score.unscored is None:
            parts.setdefault(task, []).append((sample.cluster, score.payload["parts"]))
        else:
            unscored[task] = unscored.get(task, 0) + 1
    found = {}
    for name, row in rows.items():
        estimate = _estimate(row, parts)
        if estimate is not None:
            missing = sum(unscored.get(task, 0) for task in row.tasks)
            found[name] = estimate.metric(name, unscored=missing)
    return found


def with_library(
    rows: Mapping[str, Row],
    ours: Mapping[str, Metric],
    theirs: Sequence[Mapping[str, Any]],
    *,
    samples: Sequence[Sample],
    scores: Sequence[Score],
) -> list[Metric]:
    """lm-eval's values, with our errors; where we have none, with its own.

    Raises UserError where the first of them is not a finite number; others are left out.
    """
    by_key = {(row["name"], row["metric"], row["filter"]): row for row in theirs}
    made: list[Metric] = []
    for name, row in rows.items():
        found = by_key[row.owner, row.metric, row.filter]
        value, error = found["value"], found["stderr"]
        if value is None or not math.isfinite(value):
            if not made:
                raise UserError(f"lm-eval's {row.key} of {row.owner} is {value}, not a number.")
            continue
        facts = {} if error is None or not math.isfinite(error) else {"lm_eval_stderr": error}
        metric = ours.get(name) or _theirs(name, row, value, facts, samples, scores)
        made.append(replace(metric, value=value, facts={**metric.facts, **facts}))
    return made


def _theirs(
    name: str,
    row: Row,
    value: float,
    facts: Mapping[str, float],
    samples: Sequence[Sample],
    scores: Sequence[Score],
) -> Metric:
    """A number of which only lm-eval knows how it is made."""
    error = facts.get("lm_eval_stderr")
    documents = [
        score
        for sample, score in zip(samples, scores, strict=True)
        if score.repeat == 0 and sample.inputs["task"] in row.tasks
    ]
    missing = sum(score.unscored is not None for score in documents)
    return Metric(
        name=name,
        value=value,
        stderr=error,
        interval=None if error is None else (value - _Z * error, value + _Z * error),
        n=len(documents) - missing,
        unscored=missing,
    )


def _estimate(
    row: Row, parts: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
) -> stats.Estimate | None:
    having = {
        task: [(cluster, part[row.key]) for cluster, part in parts.get(task, ()) if row.key in part]
        for task in row.tasks
    }
    having = {task: found for task, found in having.items() if found}
    flat = [(task, *one) for task, found in having.items() for one in found]
    if not flat or row.kind == "other" or any(part[0] != row.kind for _, _, part in flat):
        return None
    clusters = [cluster for _, cluster, _ in flat]
    numbers = [part[1] for _, _, part in flat]
    if not all(map(math.isfinite, numbers)):
        return None
    if row.kind == "mean":
        tasks = [task for task, _, _ in flat]
        sizes = {task: float(len(found)) for task, found in having.items()}
        return stats.macro_mean(numbers, tasks, clusters, weights=sizes if row.by_size else None)
    if len(having) > 1:  # a mean of perplexities
        return None
    try:
        return _ratio(row.kind, [part for _, _, part in flat], clusters)
    except (ValueError, OverflowError):  # text of no bytes, or e to the power of a thousand
        return None


def _ratio(kind: str, parts: Sequence[Any], clusters: Sequence[str]) -> stats.Estimate:
    nats = [-part[1] for part in parts]
    if kind == "perplexity":
        return stats.ratio(nats, [1.0] * len(nats), clusters, transform=math.exp)
    sizes = [float(part[2]) for part in parts]
    if kind == "bits_per_byte":
        return stats.ratio([each / math.log(2) for each in nats], sizes, clusters)
    return stats.ratio(nats, sizes, clusters, transform=math.exp)


def _outermost_first(facts: Mapping[str, Any]) -> list[str]:
    """Groups by falling number of tasks, what was asked for first."""
    groups = facts["groups"]
    return sorted(groups, key=lambda name: (name != facts["root"], -len(groups[name]["tasks"])))


def _name(row: Row, root: str) -> str:
    short = row.metric if row.filter == "none" else row.key
    return short if row.owner == root else f"{row.owner}/{short}"


def _range(row: Row) -> tuple[float | None, float | None]:
    if row.kind != "mean":
        return (None, None) if row.kind == "other" else (0.0, None)
    return (0.0, 1.0) if row.metric.startswith(("acc", "exact_match")) else (None, None)
