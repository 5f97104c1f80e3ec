"""Scores: what is in the store without a final score is judged, and stored as it comes."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from unimm_eval.api import IncompleteError, Item, Output, Sample, Score, Task
from unimm_eval.engine.behind import Behind
from unimm_eval.engine.plan import PlannedTask, key_of
from unimm_eval.engine.progress import Progress
from unimm_eval.engine.stopped import TaskStopped, guarded, task_code
from unimm_eval.engine.store import ItemKey, Store

COMMIT_SECONDS = 0.5
"""Scores wait at most this long for others to be committed with."""

Scoring = Callable[[Task, Sequence[Sample], Sequence[Output]], Iterable[Score]]
"""Who judges: the task in this process, or scorers elsewhere."""


class EarlyScores:
    """Judges the outputs of a task while more of them are made, where its scope lets it see them
    one by one. What it does not come to, and what a judge did not answer, `judge` does at the
    end."""

    AHEAD = 4
    """Batches that wait to be judged; when there are more, they are left to the end."""

    def __init__(
        self, entry: PlannedTask, *, scoring: Scoring, store: Store, behind: Behind
    ) -> None:
        self._entry, self._scoring, self._store, self._behind = entry, scoring, store, behind
        self._waiting = 0
        self._over = entry.task.scope != "sample"

    def add(self, items: Sequence[Item], outputs: Sequence[Output]) -> None:
        """These are in the store from now on."""
        if self._over or self._waiting >= self.AHEAD:
            return
        self._waiting += 1
        self._behind.submit(self._score, items, outputs)

    def _score(self, items: Sequence[Item], outputs: Sequence[Output]) -> None:
        self._waiting -= 1
        if self._over:
            return
        usable = [
            (item.sample, output)
            for item, output in zip(items, outputs, strict=True)
            if output.error is None
        ]
        scores: list[Score] = []
        try:
            scores += _scored(
                self._entry, self._scoring, [row[0] for row in usable], [row[1] for row in usable]
            )
        except TaskStopped:  # which `judge` will meet again, and tell
            self._over = True
        self._over = self._over or any(score.outage for score in scores)
        self._store.add_scores(self._entry.name, self._entry.task.judge_identity(), scores)


def judge(entry: PlannedTask, *, scoring: Scoring, store: Store, progress: Progress) -> None:
    """Score what is in the store and has no final score yet; no model is needed.

    When the judge was down for some, they are kept as unscored and the task stops as incomplete.
    """
    name, who = entry.name, entry.task.judge_identity()
    outputs = store.outputs(name)
    scores = store.scores(name, who)
    keys = [key_of(item) for item in entry.items]
    samples = {key_of(item): item.sample for item in entry.items}
    final = {key for key in keys if key in scores and scores[key].unscored is None}
    whole = entry.task.scope == "set" and len(final) < len(keys)
    if entry.task.scope == "repeats":
        final -= _incomplete(keys, final)
    pending = keys if whole else [key for key in keys if key not in final]
    progress.phase(name, "judge", total=len(keys), done=len(keys) - len(pending))
    without = [
        Score(sample_id=key[0], repeat=key[1], unscored=outputs[key].error)
        for key in pending
        if outputs[key].error is not None
    ]
    usable = [key for key in pending if outputs[key].error is None]
    fresh = _scored(
        entry, scoring, [samples[key] for key in usable], [outputs[key] for key in usable]
    )
    if whole:
        everything = [*without, *fresh]
        store.add_scores(name, who, everything, replace=True)
        progress.advance(name, len(everything))
        _check_outages(entry, [score for score in everything if score.outage])
        return
    waiting = without
    outages: list[Score] = []
    last = time.monotonic()
    try:
        for score in fresh:
            waiting.append(score)
            outages += [score] if score.outage else []
            if time.monotonic() - last > COMMIT_SECONDS:
                store.add_scores(name, who, waiting)
                progress.advance(name, len(waiting))
                waiting = []
                last = time.monotonic()
    finally:
        store.add_scores(name, who, waiting)
    progress.advance(name, len(waiting))
    _check_outages(entry, outages)


def _incomplete(keys: Sequence[ItemKey], final: set[ItemKey]) -> set[ItemKey]:
    """Outputs of samples of which another output has no final score."""
    missing = {sample for sample, repeat in keys if (sample, repeat) not in final}
    return {key for key in final if key[0] in missing}


def _check_outages(entry: PlannedTask, outages: Sequence[Score]) -> None:
    if outages:
        error = IncompleteError(
            f"Task {entry.name}: {len(outages)} of {len(entry.items)} outputs could not be judged: "
            f"{outages[0].unscored}",
            fix="Every judgement there is was kept; the same command asks for the others.",
        )
        raise TaskStopped(error)


def _scored(
    entry: PlannedTask,
    scoring: Scoring,
    samples: Sequence[Sample],
    outputs: Sequence[Output],
) -> Iterator[Score]:
    """Scores as the task gives them, exactly one an output. One that is not a number is unscored:
    NaN would be neither in the mean nor out of it."""
    missing = {(output.sample_id, output.repeat) for output in outputs}
    if not missing:
        return
    for score in guarded(scoring(entry.task, samples, outputs)):
        with task_code():
            key = (score.sample_id, score.repeat)
            if key not in missing:
                raise ValueError(f"task {entry.name} scored {key}, which was not asked for")
            missing.remove(key)
            json.dumps([dict(score.values), dict(score.payload)])
        wrong = {key: value for key, value in score.values.items() if not math.isfinite(value)}
        if wrong and score.unscored is None:
            score = replace(score, values={}, unscored=f"not a finite number: {wrong}")
        yield score
    if missing:
        with task_code():
            raise ValueError(f"task {entry.name} left {len(missing)} outputs without a score")
