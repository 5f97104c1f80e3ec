"""Two runs, sample by sample: how far scores and outputs are apart, and which verdicts flipped.

Samples are paired by id and repeat, so a difference has the error of a paired comparison, computed
over clusters. Tasks whose protocols differ are refused: their numbers are not of one column.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from unimm_eval.api import Output, Picture, Sample, Score, Task, UserError, canonical_json
from unimm_eval.engine.load import LoadedRun, LoadedTask, load_run
from unimm_eval.engine.run import differences
from unimm_eval.stats import Estimate, paired_difference

Kind = Literal["number", "text", "picture"]
Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """Means of one score value over the same outputs of A and B, and B − A with its error."""

    name: str
    a: float
    b: float
    difference: Estimate


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
    score in one run or in both and are left out of `scores` and `flips`."""

    task: str
    n: int
    only_in_a: int
    only_in_b: int
    unscored: int
    scores: tuple[ScoreDifference, ...]
    outputs: tuple[Agreement, ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, kw_only=True)
class RefusedTask:
    """A task that is not compared, since its protocol differs; `fields` says in what."""

    task: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """Which run A or B is."""

    folder: str
    model: str
    fingerprint: str


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
    """Compare the finished runs in two folders. Tasks that were given as objects must be given
    again in `tasks`. Raises UserError when a folder holds no finished run."""
    first, second = load_run(a, tasks=tasks), load_run(b, tasks=tasks)
    common = [name for name in first.tasks if name in second.tasks]
    refused = [
        RefusedTask(task=name, fields=fields)
        for name in common
        if (fields := _protocol_differences(first, second, name))
    ]
    compared = [name for name in common if name not in {entry.task for entry in refused}]
    return Comparison(
        a=_which(first),
        b=_which(second),
        setup=tuple(
            _told(difference)
            for difference in differences(_setup(first, compared), _setup(second, compared))
        ),
        tasks=tuple(
            _compare_task(name, first.tasks[name], second.tasks[name]) for name in compared
        ),
        refused=tuple(refused),
        only_in_a=tuple(name for name in first.tasks if name not in second.tasks),
        only_in_b=tuple(name for name in second.tasks if name not in first.tasks),
    )


def _which(run: LoadedRun) -> ComparedRun:
    model = run.record.model
    return ComparedRun(folder=str(run.folder), model=model.name, fingerprint=model.fingerprint)


def _setup(run: LoadedRun, tasks: Sequence[str]) -> dict[str, Any]:
    """What the numbers of `tasks` depend on besides the model, as the run has it."""
    kept = {key: value for key, value in run.identity.items() if key != "model"}
    for table in ("tasks", "batch_sizes"):
        kept[table] = {name: run.identity[table][name] for name in tasks}
    return kept


def _protocol_differences(a: LoadedRun, b: LoadedRun, task: str) -> tuple[str, ...]:
    """In what the protocols of a task differ; nothing when their hashes are equal."""
    first, second = a.identity["tasks"][task], b.identity["tasks"][task]
    if first["protocol_hash"] == second["protocol_hash"]:
        return ()
    found = list(differences(first, second))
    pinned = [row for row in found if row[0].split(".")[0] in ("set", "judge")]
    data = [row for row in found if row[0] == "samples_hash"]
    return tuple(map(_told, pinned or data)) or ("its card: protocol, version, data or settings",)


def _told(difference: tuple[str, str, str]) -> str:
    field, a, b = difference
    return f"{field}: {a} in A, {b} in B"


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One run's part of a pair."""

    task: Task
    sample: Sample
    output: Output
    score: Score


def _sides(loaded: LoadedTask) -> dict[Key, _Side]:
    rows = zip(loaded.samples, loaded.outputs, loaded.scores, strict=True)
    return {
        (output.sample_id, output.repeat): _Side(
            task=loaded.task, sample=sample, output=output, score=score
        )
        for sample, output, score in rows
    }


def _compare_task(name: str, a: LoadedTask, b: LoadedTask) -> TaskComparison:
    first, second = _sides(a), _sides(b)
    pairs = [(side, second[key]) for key, side in first.items() if key in second]
    scored = [pair for pair in pairs if not any(side.score.unscored for side in pair)]
    return TaskComparison(
        task=name,
        n=len(pairs),
        only_in_a=len(first) - len(pairs),
        only_in_b=len(second) - len(pairs),
        unscored=len(pairs) - len(scored),
        scores=tuple(_score_differences(scored)),
        outputs=tuple(_agreements([(x.output, y.output) for x, y in pairs])),
        flips=tuple(_flips(scored)),
    )


def _score_values(
    pairs: Sequence[tuple[_Side, _Side]],
) -> dict[str, list[tuple[int, float, float]]]:
    """By name, (index of the pair, value in A, value in B) wherever both have it."""
    found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for index, (a, b) in enumerate(pairs):
        for name in a.score.values:
            if name in b.score.values:
                found[name].append((index, a.score.values[name], b.score.values[name]))
    return found


def _score_differences(pairs: Sequence[tuple[_Side, _Side]]) -> list[ScoreDifference]:
    rows = []
    for name, values in _score_values(pairs).items():
        a, b = ([value[side] for value in values] for side in (1, 2))
        clusters = [pairs[value[0]][0].sample.cluster for value in values]
        rows.append(
            ScoreDifference(
                name=name,
                a=math.fsum(a) / len(a),
                b=math.fsum(b) / len(b),
                difference=paired_difference(b, a, clusters),
            )
        )
    return rows


def _flips(pairs: Sequence[tuple[_Side, _Side]]) -> list[Flip]:
    """Pairs whose verdicts differ, in the order of the samples of A."""
    flips: list[tuple[int, Flip]] = []
    for name, values in _score_values(pairs).items():
        if any(value not in (0.0, 1.0) for _, *both in values for value in both):
            continue
        for index, a, b in values:
            if a != b:
                flips.append((index, _flip(*pairs[index], name=name)))
    return [flip for _, flip in sorted(flips, key=lambda entry: entry[0])]


def _flip(a: _Side, b: _Side, *, name: str) -> Flip:
    group, said_a, said_b = _said(a, b)
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


def _said(a: _Side, b: _Side) -> tuple[str, str, str]:
    """(group, what A said, what B said), as the task shows them: the answer, or else the note and
    those facts in which the two differ."""
    try:
        shown = [side.task.exhibit(side.sample, side.output, side.score) for side in (a, b)]
    except UserError:  # what the samples were made of is gone; the outputs are still here
        shown = [None, None]
    first, second = shown
    if first is None or second is None:
        return "", canonical_json(dict(a.output.values)), canonical_json(dict(b.output.values))
    apart = [
        key
        for key in {**first.facts, **second.facts}
        if first.facts.get(key) != second.facts.get(key)
    ]
    said = [
        exhibit.answer
        or "; ".join(
            filter(None, [exhibit.note, *(f"{key}: {exhibit.facts.get(key)}" for key in apart)])
        )
        for exhibit in (first, second)
    ]
    return first.group, said[0], said[1]


class _Tally:
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
    tallies: dict[tuple[str, Kind], _Tally] = {}

    def tally(name: str, kind: Kind) -> _Tally:
        return tallies.setdefault((name, kind), _Tally(name, kind))

    for a, b in pairs:
        for name in _shared(a.values, b.values):
            x, y = a.values[name], b.values[name]
            if _is_number(x) and _is_number(y):
                tally(name, "number").add(equal=x == y, apart=_apart(float(x), float(y)))
            else:
                tally(name, "text").add(equal=x == y, apart=None)
        for name in _shared(a.media, b.media):
            apart = _pixels_apart(a.media[name], b.media[name])
            tally(name, "picture").add(equal=apart == (0.0, 0.0), apart=apart)
    return [entry.agreement() for entry in tallies.values()]


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
    """Largest difference of a pixel, and over 255; None for pictures of different sizes."""
    if a.path is not None and b.path is not None and a.path.name == b.path.name:
        return 0.0, 0.0  # files are named by their content
    x, y = a.load().astype(np.int16), b.load().astype(np.int16)
    if x.shape != y.shape:
        return None
    largest = float(np.abs(x - y).max(initial=0))
    return largest, largest / 255
