"""Two runs, sample by sample: how far metrics and outputs are apart, and which verdicts flipped.

Samples are paired by id and repeat, so a difference has the error of a paired comparison, computed
over clusters; the p-values of headlines are Holm's. Tasks whose protocols differ are refused: their
numbers are not of one column.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unimm_eval.api import Output, Picture, PictureError, Result, Task
from unimm_eval.api.tasks import Direction
from unimm_eval.engine.changes import MetricChange, adjusted, metric_changes
from unimm_eval.engine.load import LoadedRun
from unimm_eval.engine.moved import Tally, said, tally
from unimm_eval.engine.pairs import Pair, PairedTask, Side, pair
from unimm_eval.engine.published import load_side, protocol_of
from unimm_eval.engine.run import differences

Kind = Literal["number", "text", "picture"]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far one output value is apart: `equal` of `n` pairs are the same.

    Of numbers and pictures, `largest` is the largest absolute difference (of a pixel: out of 255)
    and `relative` the largest of |a − b| / max(|a|, |b|). Both are None for texts, and where no
    pair can be subtracted (pictures of different sizes, infinities).
    """

    name: str
    kind: Kind
    n: int
    equal: int
    largest: float | None
    relative: float | None


@dataclass(frozen=True, kw_only=True)
class Flip:
    """An output whose verdict (a score value that is 0 or 1) is not the same in A and B.

    `group` and what was said are the task's own words for its report.
    """

    sample: str
    repeat: int
    group: str
    score: str
    a: float
    b: float
    said_a: str
    said_b: str


@dataclass(frozen=True, kw_only=True)
class TaskComparison:
    """One task: `n` outputs stand in both runs, others in one only; of the `n`, `unscored` have no
    score in one run or in both and are left out of `metrics`, `samples` and `flips`. `samples` is
    None where scores have no values of their own."""

    task: str
    n: int
    only_in_a: int
    only_in_b: int
    unscored: int
    metrics: tuple[MetricChange, ...]
    samples: Tally | None
    outputs: tuple[Agreement, ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, kw_only=True)
class RefusedTask:
    """A task that is not compared, since its protocol differs; `fields` says in what."""

    task: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """Which run A or B is. `vqa_model` and its fingerprint are those of the child that answered the
    questions about pictures, empty where there is none."""

    folder: str
    model: str
    fingerprint: str
    vqa_model: str = ""
    vqa_fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything in which two runs are apart.

    `setup` tells what else than the model is not the same: seed, device, dtype, batch sizes,
    generation, samples.
    """

    a: ComparedRun
    b: ComparedRun
    setup: tuple[str, ...]
    tasks: tuple[TaskComparison, ...]
    refused: tuple[RefusedTask, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]


def compare_runs(a: str | Path, b: str | Path, *, tasks: Sequence[Task] = ()) -> Comparison:
    """Compare two finished runs: folders, or published records with their scores. Tasks that were
    given as objects must be given again in `tasks`. Raises UserError when there is no such run."""
    return compare_loaded(load_side(a, tasks=tasks), load_side(b, tasks=tasks))


def compare_loaded(first: LoadedRun, second: LoadedRun) -> Comparison:
    """Compare two runs that were read."""
    common = [name for name in first.tasks if name in second.tasks]
    refused = [
        RefusedTask(task=name, fields=fields)
        for name in common
        if (fields := protocol_differences(first, second, name))
    ]
    compared = [name for name in common if name not in {entry.task for entry in refused}]
    paired = {name: pair(first.tasks[name], second.tasks[name]) for name in compared}
    changes = adjusted(
        {
            name: metric_changes(paired[name], a=rows_of(first, name), b=rows_of(second, name))
            for name in compared
        }
    )
    return Comparison(
        a=_which(first),
        b=_which(second),
        setup=setup_differences(first, second, compared),
        tasks=tuple(_compare_task(name, paired[name], changes[name]) for name in compared),
        refused=tuple(refused),
        only_in_a=tuple(name for name in first.tasks if name not in second.tasks),
        only_in_b=tuple(name for name in second.tasks if name not in first.tasks),
    )


def rows_of(run: LoadedRun, task: str) -> list[Result]:
    """The rows of a task in a run's record."""
    return [row for row in run.record.results if row.task == task]


def protocol_differences(a: LoadedRun, b: LoadedRun, task: str) -> tuple[str, ...]:
    """In what the protocols of a task differ, field by field; nothing when their hashes are
    equal."""
    first, second = dict(protocol_of(a, task)), dict(protocol_of(b, task))
    if first["protocol_hash"] == second["protocol_hash"]:
        return ()
    if not ("card" in first and "card" in second):
        for protocol in (first, second):
            protocol.pop("card", None)
    found = list(differences(first, second))
    pinned = [row for row in found if row[0].split(".")[0] in ("card", "set", "judge", "unit")]
    data = [row for row in found if row[0] == "samples_hash"]
    return tuple(map(_told, pinned or data)) or ("its card: protocol, version, data or settings",)


def _which(run: LoadedRun) -> ComparedRun:
    model, child = run.record.model, run.record.vqa_model
    return ComparedRun(
        folder=str(run.folder),
        model=model.name,
        fingerprint=model.fingerprint,
        vqa_model=child.name if child else "",
        vqa_fingerprint=child.fingerprint if child else "",
    )


def setup_differences(a: LoadedRun, b: LoadedRun, tasks: Sequence[str]) -> tuple[str, ...]:
    """In what the runs of `tasks` differ besides the model, as far as both say it: a published
    record does not tell device, dtype and batch sizes."""

    def kept(run: LoadedRun) -> dict[str, Any]:
        return {
            key: {name: _but_for_the_model(value[name]) for name in tasks}
            if key in ("tasks", "batch_sizes")
            else value
            for key, value in run.identity.items()
            if key not in ("model", "vqa_model") and key in a.identity and key in b.identity
        }

    return tuple(map(_told, differences(kept(a), kept(b))))


def _but_for_the_model(facts: Any) -> Any:
    """What a run says of a task, without who answered it."""
    if not isinstance(facts, Mapping):
        return facts
    return {key: value for key, value in facts.items() if key != "answered_by"}


def _told(difference: tuple[str, str, str]) -> str:
    field, a, b = difference
    return f"{field}: {a} in A, {b} in B"


def _compare_task(
    name: str, paired: PairedTask, changes: tuple[MetricChange, ...]
) -> TaskComparison:
    direction: Direction = next((row.direction for row in changes if row.headline), "higher")
    return TaskComparison(
        task=name,
        n=len(paired.pairs),
        only_in_a=paired.only_in_a,
        only_in_b=paired.only_in_b,
        unscored=paired.unscored,
        metrics=changes,
        samples=tally(paired.scored, direction=direction),
        outputs=tuple(_agreements([(a.output, b.output) for a, b in paired.pairs])),
        flips=tuple(_flips(paired.scored)),
    )


def _score_values(pairs: Sequence[Pair]) -> dict[str, list[tuple[int, float, float]]]:
    """By name, (index of the pair, value in A, value in B) wherever both have it."""
    found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for index, (a, b) in enumerate(pairs):
        for name in a.score.values:
            if name in b.score.values:
                found[name].append((index, a.score.values[name], b.score.values[name]))
    return found


def _flips(pairs: Sequence[Pair]) -> list[Flip]:
    """Pairs whose verdicts differ, in the order of the samples of A."""
    flips: list[tuple[int, Flip]] = []
    for name, values in _score_values(pairs).items():
        if any(value not in (0.0, 1.0) for _, *both in values for value in both):
            continue
        for index, a, b in values:
            if a != b:
                flips.append((index, _flip(*pairs[index], name=name)))
    return [flip for _, flip in sorted(flips, key=lambda entry: entry[0])]


def _flip(a: Side, b: Side, *, name: str) -> Flip:
    group, _, said_a, said_b = said(a, b)
    return Flip(
        sample=a.output.sample_id,
        repeat=a.output.repeat,
        group=group,
        score=name,
        a=a.score.values[name],
        b=b.score.values[name],
        said_a=said_a,
        said_b=said_b,
    )


class _Agreeing:
    """Pairs of one output value, as they come."""

    def __init__(self, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self.n = self.equal = 0
        self.largest: float | None = None
        self.relative: float | None = None

    def add(self, *, equal: bool, apart: tuple[float, float] | None) -> None:
        """One more pair; `apart` is its absolute and its relative difference, if it has any."""
        self.n += 1
        self.equal += equal
        if apart is not None:
            self.largest = max(apart[0], self.largest or 0.0)
            self.relative = max(apart[1], self.relative or 0.0)

    def agreement(self) -> Agreement:
        return Agreement(
            name=self.name,
            kind=self.kind,
            n=self.n,
            equal=self.equal,
            largest=self.largest,
            relative=self.relative,
        )


def _agreements(pairs: Sequence[tuple[Output, Output]]) -> list[Agreement]:
    found: dict[tuple[str, Kind], _Agreeing] = {}

    def of(name: str, kind: Kind) -> _Agreeing:
        return found.setdefault((name, kind), _Agreeing(name, kind))

    for a, b in pairs:
        for name in _shared(a.values, b.values):
            x, y = a.values[name], b.values[name]
            if _is_number(x) and _is_number(y):
                of(name, "number").add(equal=x == y, apart=_apart(float(x), float(y)))
            else:
                of(name, "text").add(equal=x == y, apart=None)
        for name in _shared(a.media, b.media):
            apart = _pixels_apart(a.media[name], b.media[name])
            of(name, "picture").add(equal=apart == (0.0, 0.0), apart=apart)
    return [entry.agreement() for entry in found.values()]


def _shared(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [name for name in a if name in b]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(x: float, y: float) -> tuple[float, float] | None:
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    largest = max(abs(x), abs(y))
    return abs(x - y), abs(x - y) / largest if largest else 0.0


def _pixels_apart(a: Picture, b: Picture) -> tuple[float, float] | None:
    """Largest difference of a pixel, and over 255; None for pictures of different sizes, or that
    are not here."""
    if a.path is not None and b.path is not None and a.path.name == b.path.name:
        return 0.0, 0.0  # files are named by their content
    try:
        x, y = a.load().astype(np.int16), b.load().astype(np.int16)
    except PictureError:  # records are published without their pictures
        return None
    if x.shape != y.shape:
        return None
    largest = float(np.abs(x - y).max(initial=0))
    return largest, largest / 255
