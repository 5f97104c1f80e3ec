"""A run against a baseline: what is asked of whom, before anything is decided.

Every task of the baseline is gated, or those that are named. A baseline of other protocols or other
samples is refused. A limited run is admitted against a baseline that was limited to the same
samples: it answers a smaller question, and says so. A task that the run lacks, or too many of whose
outputs lost their score, is inconclusive, for a run must not pass by what it leaves out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from unimm_eval.api import Result, Task, UserError
from unimm_eval.engine.changes import MetricChange, metric_changes
from unimm_eval.engine.compare import protocol_differences, rows_of, setup_differences
from unimm_eval.engine.load import LoadedRun
from unimm_eval.engine.pairs import PairedTask, pair
from unimm_eval.engine.published import load_side, protocol_of
from unimm_eval.engine.registry import nearest
from unimm_eval.gate.margins import Margin, check_names, default_margin
from unimm_eval.gate.rules import EXIT_CODES, Ruling, Verdict, overall, rule

MOST_UNSCORED = 0.01
"""A larger share of outputs that lost their score leaves a task open."""


@dataclass(frozen=True, kw_only=True)
class GatedRun:
    """Which run stood on one side."""

    path: str
    model: str
    fingerprint: str
    run: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class GatedTask:
    """One task: its headline in both runs over the same samples, and the ruling. Values and
    `margin` are None where the run lacks the task."""

    task: str
    metric: str
    direction: str
    unit: str
    mini: bool
    limited: bool
    protocol_hash: str
    n: int
    clusters: int
    unscored: int
    baseline: float | None
    run: float | None
    margin: float | None
    paired: bool
    ruling: Ruling


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The gate's decision, made once: what is printed, written and returned are this."""

    verdict: Verdict
    exit_code: int
    run: GatedRun
    baseline: GatedRun
    setup: tuple[str, ...]
    tasks: tuple[GatedTask, ...]
    not_gated: tuple[str, ...]


def run_gate(
    run: str | Path,
    baseline: str | Path,
    *,
    margins: Mapping[str, Margin] | None = None,
    names: Sequence[str] = (),
    tasks: Sequence[Task] = (),
) -> Outcome:
    """Decide whether `run` is worse than `baseline` on the baseline's tasks, or on those of them
    that `names` (globs) name. Tasks that were given to `evaluate` as objects must be given again in
    `tasks`.

    Raises UserError when a run cannot be read or they cannot be compared.
    """
    ours = load_side(run, tasks=tasks)
    same = [loaded.task for loaded in ours.tasks.values()]
    theirs = load_side(baseline, tasks=[*same, *tasks])
    gated = _gated(theirs, names)
    check_names(margins or {}, gated)
    there = [name for name in gated if name in ours.tasks]
    _check_comparable(ours, theirs, there)
    sides = {name: pair(theirs.tasks[name], ours.tasks[name]) for name in there}
    changes = {name: _headline(sides[name], theirs, ours, name) for name in there}
    sizes = {
        name: (margins or {}).get(name, default_margin(row)).of(row) for name, row in gated.items()
    }
    rulings = rule({name: row for name, row in changes.items() if row is not None}, sizes)
    for name in gated:
        rulings[name] = _incomplete(sides.get(name), changes.get(name)) or rulings[name]
    verdict = overall(rulings)
    return Outcome(
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        run=_which(ours, run),
        baseline=_which(theirs, baseline),
        setup=setup_differences(theirs, ours, there),
        tasks=tuple(
            _gated_task(
                row,
                change=changes.get(name),
                paired=sides.get(name),
                margin=sizes[name],
                ruling=rulings[name],
            )
            for name, row in gated.items()
        ),
        not_gated=tuple(name for name in ours.tasks if name not in gated),
    )


def _gated(baseline: LoadedRun, names: Iterable[str]) -> dict[str, Result]:
    """The headlines of the baseline that are gated, by task."""
    known = list(baseline.tasks)
    patterns = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise UserError(
                f"The baseline has no task {pattern}{nearest(pattern, known)}.",
                fix=f"Its tasks are: {', '.join(known)}.",
            )
    chosen = patterns or ["*"]
    names = [name for name in known if any(fnmatchcase(name, pattern) for pattern in chosen)]
    if not names:
        raise UserError(f"{baseline.folder} has no tasks with scores to compare.")
    rows = {row.task: row for row in baseline.record.results if row.headline}
    bare = [name for name in names if name not in rows]
    if bare:
        raise UserError(
            f"The baseline has no headline of {', '.join(bare)}: its samples are too few for one.",
            fix="Name the other tasks with --tasks, or run the baseline on more samples.",
        )
    return {name: rows[name] for name in names}


def _check_comparable(run: LoadedRun, baseline: LoadedRun, tasks: Sequence[str]) -> None:
    """Raise UserError, all problems at once, for tasks of another protocol or other samples."""
    problems = []
    for name in tasks:
        if fields := protocol_differences(baseline, run, name):
            told = "; ".join(fields)
            problems.append(f"{name}: the protocols differ (A is the baseline): {told}.")
            continue
        first, second = protocol_of(baseline, name), protocol_of(run, name)
        if first["samples_hash"] != second["samples_hash"]:
            problems.append(
                f"{name}: other samples: {second['samples']:,} in the run, "
                f"{first['samples']:,} in the baseline."
            )
    if problems:
        raise UserError(
            "The run cannot be held against this baseline:\n"
            + "\n".join(f"  {problem}" for problem in problems),
            fix="Run both with the same settings and --limit, or leave tasks out with --tasks.",
        )


def _headline(
    paired: PairedTask, baseline: LoadedRun, run: LoadedRun, name: str
) -> MetricChange | None:
    """The change of the headline; None where the run has none."""
    rows = [[row for row in rows_of(side, name) if row.headline] for side in (baseline, run)]
    return next(iter(metric_changes(paired, a=rows[0], b=rows[1])), None)


def _incomplete(paired: PairedTask | None, change: MetricChange | None) -> Ruling | None:
    """Inconclusive where something is missing."""
    if paired is None:
        return Ruling(verdict="inconclusive", reason="the run lacks this task")
    lost = sum(a.score.unscored is None and b.score.unscored is not None for a, b in paired.pairs)
    if lost > MOST_UNSCORED * len(paired.pairs):
        return Ruling(
            verdict="inconclusive",
            reason=f"{lost:,} of {len(paired.pairs):,} outputs have no score in the run, while the "
            "baseline's have",
        )
    if change is None:
        return Ruling(verdict="inconclusive", reason="the run has no headline of this task")
    return None


def _gated_task(
    row: Result,
    *,
    change: MetricChange | None,
    paired: PairedTask | None,
    margin: float,
    ruling: Ruling,
) -> GatedTask:
    return GatedTask(
        task=row.task,
        metric=row.metric,
        direction=row.direction,
        unit=row.unit,
        mini=row.mini,
        limited=row.limited,
        protocol_hash=row.protocol_hash,
        n=0 if change is None else change.n,
        clusters=0 if change is None else change.change.clusters,
        unscored=0 if paired is None else paired.unscored,
        baseline=row.value if change is None else change.a,
        run=None if change is None else change.b,
        margin=margin,
        paired=change is not None and change.change.paired,
        ruling=ruling,
    )


def _which(run: LoadedRun, path: str | Path) -> GatedRun:
    record = run.record
    return GatedRun(
        path=str(path),
        model=record.model.name,
        fingerprint=record.model.fingerprint,
        run=record.run.name,
        seed=record.run.seed,
    )
