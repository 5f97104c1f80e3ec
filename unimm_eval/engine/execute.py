"""The local executor: one task after the other, produce → store → judge → store → summarize.

What a task's own code raises stops that task alone: it is collected, the other tasks run, and all
of it is raised at the end. What the store raises (a full disk) stops the run.
"""

import json
import math
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from unimm_eval.api import (
    Context,
    DefectError,
    IncompleteError,
    Item,
    Model,
    Output,
    Picture,
    PictureError,
    Result,
    Sample,
    SampleError,
    Score,
    ScoresFile,
    UserError,
    scores_file,
    scores_to_parquet,
)
from unimm_eval.engine.export import checked, write_exports
from unimm_eval.engine.files import write_atomic
from unimm_eval.engine.machine import is_out_of_memory, release_memory
from unimm_eval.engine.plan import PlannedTask, halved_sizes
from unimm_eval.engine.problems import joined
from unimm_eval.engine.progress import Progress
from unimm_eval.engine.results import rows_of
from unimm_eval.engine.run import RunFolder
from unimm_eval.engine.store import ItemKey, Store

COMMIT_SECONDS = 0.5
"""Scores wait at most this long for others to be committed with."""

T = TypeVar("T")


class _TaskStopped(Exception):
    """A task's own code raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


def execute(
    planned: Sequence[PlannedTask],
    models: Mapping[str, Model],
    *,
    folder: RunFolder,
    model_keys: Mapping[str, str],
    context: Context,
    progress: Progress,
) -> tuple[list[Result], dict[str, ScoresFile]]:
    """Run every task to its end and return the rows of the record, and by task what it says of the
    file with the scores. `models` and the keys that outputs are kept under are by task; a task
    without a model has all of its outputs already.

    Raises DefectError when a task raised, its own UserError when that is what it raised; whatever
    was computed is in the store by then.
    """
    results: list[Result] = []
    files: dict[str, ScoresFile] = {}
    stopped: dict[str, Exception] = {}
    for entry in planned:
        progress.task_started(entry.name)
        rows: list[Result] = []
        try:
            folder.store.set_samples(entry.name, entry.samples)
            produce(
                entry,
                models.get(entry.name),
                folder=folder,
                model_key=model_keys[entry.name],
                context=context,
                progress=progress,
            )
            judge(entry, store=folder.store, progress=progress)
            rows, files[entry.name] = summarize(entry, folder=folder, progress=progress)
        except _TaskStopped as stop:
            stopped[entry.name] = stop.error
        results += rows
        progress.task_finished(entry.name, rows)
    if stopped:
        raise _failure(stopped, folder)
    return results, files


def produce(
    entry: PlannedTask,
    model: Any,
    *,
    folder: RunFolder,
    model_key: str,
    context: Context,
    progress: Progress,
) -> None:
    """Ask the model for what is not in the store, batch by batch as planned."""
    keys = [entry.output_key(item, model_key=model_key) for item in entry.items]
    done = _stored(entry, keys, folder.store)
    progress.phase(entry.name, "produce", total=len(keys), done=len(done))
    sizes = folder.batch_sizes(entry.name)
    index = start = 0
    while index < len(sizes):
        batch = slice(start, start + sizes[index])
        items = entry.items[batch]
        fresh = [item for item in items if _key(item) not in done]
        if fresh:  # the whole batch all the same: answers depend on what they are batched with
            outputs = _within_memory(entry, model, items, context)
            if outputs is None:
                sizes = halved_sizes(sizes, index)
                folder.set_batch_sizes(entry.name, sizes)
                progress.note(f"{entry.name}: out of memory, batches of {sizes[index]} from now on")
                continue
            folder.store.add_outputs(entry.name, list(zip(keys[batch], outputs, strict=True)))
            progress.advance(entry.name, len(fresh))
        start += sizes[index]
        index += 1


def _stored(entry: PlannedTask, keys: Sequence[str], store: Store) -> set[ItemKey]:
    """Items whose output is in the store. Raises UserError when one is of another origin."""
    there = store.output_keys(entry.name)
    for item, key in zip(entry.items, keys, strict=True):
        if there.get(_key(item), key) != key:
            raise UserError(
                f"{store.path} holds outputs of another model or other settings.",
                fix="Choose another folder with --output.",
            )
    return set(there)


def _within_memory(
    entry: PlannedTask, model: Any, items: Sequence[Item], context: Context
) -> list[Output] | None:
    """Outputs of a batch in the order of its items, or None when it does not fit in memory."""
    try:
        with _task_code():
            return _ask(entry, model, items, context)
    except _TaskStopped as stop:
        if not is_out_of_memory(stop.error):
            raise
        if len(items) == 1:
            too_large = IncompleteError(
                f"Task {entry.name}: not even one sample at a time fits in memory.",
                fix="Choose a device with more memory.",
            )
            raise _TaskStopped(too_large) from stop.error
    release_memory()  # out here, where the traceback no longer holds what the batch held
    return None


def _ask(entry: PlannedTask, model: Any, items: Sequence[Item], context: Context) -> list[Output]:
    """One batch through the task. What cannot be answered (a picture that does not decode, a
    question too long for the model) costs its own output."""
    try:
        outputs = list(entry.task.produce(model, items, context))
    except SampleError as error:
        if len(items) > 1:
            return [output for item in items for output in _ask(entry, model, [item], context)]
        key = _key(items[0])
        return [Output(sample_id=key[0], repeat=key[1], error=str(error))]
    found = {(output.sample_id, output.repeat): output for output in outputs}
    if len(outputs) != len(items) or any(_key(item) not in found for item in items):
        raise ValueError(
            f"task {entry.name} answered {[(out.sample_id, out.repeat) for out in outputs]} "
            f"when asked for {[_key(item) for item in items]}"
        )
    return [_settled(found[_key(item)]) for item in items]


def _settled(output: Output) -> Output:
    """The output with its pictures in memory, checked to be what the store can keep."""
    json.dumps(output.values)  # raises TypeError naming the type that is not JSON
    try:
        media = {name: item.load() for name, item in output.media.items()}
    except PictureError as error:
        return replace(output, media={}, error=str(error))
    for name, array in media.items():
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                f"picture {name!r} is {array.dtype} {array.shape}, not uint8 [height, width, 3]"
            )
    return replace(output, media={name: Picture(array=array) for name, array in media.items()})


def judge(entry: PlannedTask, *, store: Store, progress: Progress) -> None:
    """Score what is in the store and has no final score yet; no model is needed.

    When the judge was down for some, they are kept as unscored and the task stops as incomplete.
    """
    name, who = entry.name, entry.task.judge_identity()
    outputs = store.outputs(name)
    scores = store.scores(name, who)
    keys = [_key(item) for item in entry.items]
    samples = {_key(item): item.sample for item in entry.items}
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
    fresh = _scored(entry, [samples[key] for key in usable], [outputs[key] for key in usable])
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
        raise _TaskStopped(error)


def _scored(
    entry: PlannedTask, samples: Sequence[Sample], outputs: Sequence[Output]
) -> Iterator[Score]:
    """Scores as the task gives them, exactly one an output. One that is not a number is unscored:
    NaN would be neither in the mean nor out of it."""
    missing = {(output.sample_id, output.repeat) for output in outputs}
    if not missing:
        return
    for score in _guarded(entry.task.judge(samples, outputs)):
        with _task_code():
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
        with _task_code():
            raise ValueError(f"task {entry.name} left {len(missing)} outputs without a score")


def summarize(
    entry: PlannedTask, *, folder: RunFolder, progress: Progress
) -> tuple[list[Result], ScoresFile]:
    """Rows of the record from what is in the store; writes the scores' file and
    `exports/<task>/`."""
    progress.phase(entry.name, "summarize", total=0, done=0)
    outputs = folder.store.outputs(entry.name)
    scores = folder.store.scores(entry.name, entry.task.judge_identity())
    rows = [(item.sample, outputs[_key(item)], scores[_key(item)]) for item in entry.items]
    with _task_code():
        reasons = [score.unscored for _, _, score in rows if score.unscored is not None]
        if len(reasons) == len(rows):
            raise IncompleteError(
                f"Task {entry.name}: none of {len(rows)} outputs could be scored: {reasons[0]}"
            )
        metrics = entry.task.summarize([row[0] for row in rows], [row[2] for row in rows])
        results = rows_of(entry, metrics)
    data, file = scores_to_parquet(rows)
    write_atomic(scores_file(folder.path, entry.name), data)
    exports = _guarded(checked(entry.task.export(rows)))
    write_exports(folder.path / "exports" / entry.name.replace("/", "_"), exports)
    return results, file


def _key(item: Item) -> ItemKey:
    return item.sample.id, item.repeat


@contextmanager
def _task_code() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _TaskStopped(error) from error


def _guarded(values: Iterable[T]) -> Iterator[T]:
    """`values`, where the task's code that yields them is told apart from who takes them."""
    with _task_code():
        iterator = iter(values)
    while True:
        with _task_code():
            try:
                value = next(iterator)
            except StopIteration:
                return
        yield value


def _failure(stopped: dict[str, Exception], folder: RunFolder) -> Exception:
    """What to raise once the other tasks ran; tracebacks of defects go to the log."""
    errors = [error for error in stopped.values() if isinstance(error, UserError)]
    defects = {task: error for task, error in stopped.items() if not isinstance(error, UserError)}
    if not defects:
        return joined(errors)
    lines = [str(error) for error in errors]
    for task, error in defects.items():
        log = folder.log_error(task, "".join(traceback.format_exception(error)))
        lines.append(f"Task {task} failed: {type(error).__name__}: {error}. Traceback: {log}")
    lines.append(f"What was computed is kept in {folder.path}.")
    return DefectError("\n".join(lines))
