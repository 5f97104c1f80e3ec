"""How far the metrics of a task are apart in two runs, with the error of a paired comparison.

A metric is whatever the task's summary makes of its scores, so the difference is made by the same
summary, over the samples that have a score in both runs, and its error by leaving out clusters of
them on both sides at once (`unimm_eval.stats.pairs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unimm_eval.api import Metric, Result, Sample, Score, Task, UserError
from unimm_eval.api.tasks import Direction
from unimm_eval.engine.pairs import Pair, PairedTask
from unimm_eval.stats import without_errors
from unimm_eval.stats.pairs import (
    Change,
    IntArray,
    change_of,
    holm,
    independent_outputs,
    jackknife,
)


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """A metric in A and in B, over the `n` samples that it is made of in both, and B − A.

    `p_holm` is the p-value adjusted for how many tasks are compared; only headlines have one, for
    only they are tested together.
    """

    metric: str
    headline: bool
    direction: Direction
    unit: str
    a: float
    b: float
    n: int
    change: Change
    p_holm: float | None = None

    @property
    def gain(self) -> float:
        """+1 where higher is better, −1 where lower is."""
        return 1.0 if self.direction == "higher" else -1.0


def metric_changes(
    paired: PairedTask, *, a: Sequence[Result], b: Sequence[Result]
) -> tuple[MetricChange, ...]:
    """The changes of all metrics that both runs have, in the order of the card.

    `a` and `b` are the rows of the task in the records. Where a summary cannot be made again (the
    features of pictures are not published with a record), the rows are all there is: their
    difference has the error of two independent numbers, and says that it is not paired.
    """
    whole = not (paired.only_in_a or paired.only_in_b or paired.unscored)
    rows = {row.metric: (row, other) for row in a for other in b if row.metric == other.metric}
    made = _changes_by_summary(paired.scored, rows)
    found = []
    for name, (first, second) in rows.items():
        change = made.get(name)
        if (change is None or change.change.stderr is None) and whole:
            change = _unpaired(first, second)
        if change is not None:
            found.append(change)
    return tuple(found)


def adjusted(
    changes: Mapping[str, Sequence[MetricChange]],
) -> dict[str, tuple[MetricChange, ...]]:
    """The changes by task, with Holm's p-values of their headlines."""
    tested = {
        task: change.change.p
        for task, rows in changes.items()
        for change in rows
        if change.headline and change.change.p is not None
    }
    p_values = holm(tested)
    return {
        task: tuple(
            replace(row, p_holm=p_values[task]) if row.headline and task in p_values else row
            for row in rows
        )
        for task, rows in changes.items()
    }


def _changes_by_summary(
    pairs: Sequence[Pair], rows: Mapping[str, tuple[Result, Result]]
) -> dict[str, MetricChange]:
    """Made by the task's own summary; nothing where it cannot be made."""
    if not pairs:
        return {}
    task = pairs[0][0].task
    samples = [a.sample for a, _ in pairs]
    scores = [a.score for a, _ in pairs], [b.score for _, b in pairs]

    def differences(keep: IntArray) -> dict[str, float]:
        kept = [samples[index] for index in keep]
        a, b = (_values(task, kept, [side[index] for index in keep]) for side in scores)
        return {name: b[name].value - a[name].value for name in a if name in b}

    try:
        with without_errors():
            first, second = (_values(task, samples, side) for side in scores)
            clusters = [sample.cluster for sample in samples]
            errors = jackknife(differences, clusters)
    except UserError:  # features or files that the summary needs are not here
        return {}
    total = len(set(clusters))
    share = _independent(pairs) / len(pairs)
    return {
        name: _paired(
            rows[name],
            first[name],
            second[name],
            errors.get(name),
            clusters=total,
            independent=share,
        )
        for name in first
        if name in second and name in rows
    }


def _independent(pairs: Sequence[Pair]) -> float:
    """As how many independent outputs the pairs count, by their first score value; without any, one
    a cluster."""
    name = next(iter(pairs[0][0].score.values), None)
    kept = [
        (b.score.values[name] - a.score.values[name], a.sample.cluster)
        for a, b in pairs
        if name is not None and name in a.score.values and name in b.score.values
    ]
    if not kept:
        return float(len({a.sample.cluster for a, _ in pairs}))
    return independent_outputs(*zip(*kept, strict=True))


def _values(task: Task, samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Metric]:
    return {metric.name: metric for metric in task.summarize(samples, scores)}


def _paired(
    rows: tuple[Result, Result],
    a: Metric,
    b: Metric,
    error: tuple[float, float] | None,
    *,
    clusters: int,
    independent: float,
) -> MetricChange:
    """`clusters` is the task's, of which a metric of some samples has fewer; `independent` as how
    much of an independent one each output counts."""
    n = min(a.n, b.n)
    clusters = min(_clusters(rows) or clusters, clusters)
    stderr, df = error or (None, 1.0)
    change = change_of(
        b.value - a.value,
        stderr=stderr,
        clusters=clusters,
        df=max(1.0, min(df, clusters - 1.0)),
        paired=True,
        width=_width(rows[0]),
        independent=max(1.0, independent * n),
    )
    return _metric_change(rows[0], a=a.value, b=b.value, n=n, change=change)


def _unpaired(a: Result, b: Result) -> MetricChange:
    stderr = None if a.stderr is None or b.stderr is None else (a.stderr**2 + b.stderr**2) ** 0.5
    clusters = _clusters((a, b)) or min(a.n, b.n)
    change = change_of(
        b.value - a.value,
        stderr=stderr,
        clusters=clusters,
        df=max(1.0, clusters - 1.0),
        paired=False,
        width=_width(a),
    )
    return _metric_change(a, a=a.value, b=b.value, n=min(a.n, b.n), change=change)


def _metric_change(row: Result, *, a: float, b: float, n: int, change: Change) -> MetricChange:
    return MetricChange(
        metric=row.metric,
        headline=row.headline,
        direction=row.direction,
        unit=row.unit,
        a=a,
        b=b,
        n=n,
        change=change,
    )


def _clusters(rows: tuple[Result, Result]) -> int | None:
    """As the summary counted them; None where it did not."""
    found = [row.facts.get("clusters") for row in rows]
    counts = [count for count in found if isinstance(count, int) and count > 0]
    return min(counts) if len(counts) == len(found) else None


def _width(row: Result) -> float | None:
    low, high = row.range
    return None if low is None or high is None else high - low
