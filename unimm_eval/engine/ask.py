"""One batch asked of a model through its task, wherever that happens.

What cannot be answered (a picture that does not decode, a question too long for the model) costs
its own output; what does not fit in memory is told apart from what fails.
"""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from unimm_eval.api import Context, Item, Output, Picture, PictureError, SampleError, Task
from unimm_eval.engine.machine import is_out_of_memory, release_memory
from unimm_eval.engine.stopped import TaskStopped, task_code


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Consecutive outputs of a task that are asked for at once; `number` is its place in the
    plan."""

    number: int
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a batch: its outputs in the order of its items, None where they did not fit in
    memory together, or the error of the task's own code."""

    outputs: list[Output] | None = None
    error: Exception | None = None


class Asker(Protocol):
    """Who asks the model: in this process, or workers elsewhere."""

    def answers(
        self, task: Task, batches: deque[Batch], context: Context
    ) -> Iterator[tuple[Batch, Answer]]:
        """Every batch with its answer, in any order.

        Batches are taken from the left of `batches` as they are asked; who empties it ends the
        asking, but for what is asked already.
        """


@dataclass(frozen=True, kw_only=True)
class LocalAsker:
    """Asks a model in this process, one batch after the other."""

    model: Any

    def answers(
        self, task: Task, batches: deque[Batch], context: Context
    ) -> Iterator[tuple[Batch, Answer]]:
        while batches:
            batch = batches.popleft()
            try:
                with task_code():
                    answer = Answer(outputs=ask(task, self.model, batch.items, context))
            except TaskStopped as stop:
                answer = Answer(error=stop.error)
            yield batch, answer


def ask(task: Task, model: Any, items: Sequence[Item], context: Context) -> list[Output] | None:
    """Outputs in the order of `items`, their pictures in memory, or None when they do not fit in
    memory together. Raises what the task's own code raises."""
    try:
        return _ask(task, model, items, context)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    release_memory()  # out here, where no traceback holds what the batch held
    return None


def _ask(task: Task, model: Any, items: Sequence[Item], context: Context) -> list[Output]:
    try:
        outputs = list(task.produce(model, items, context))
    except SampleError as error:
        if len(items) > 1:
            return [output for item in items for output in _ask(task, model, [item], context)]
        return [Output(sample_id=items[0].sample.id, repeat=items[0].repeat, error=str(error))]
    found = {(output.sample_id, output.repeat): output for output in outputs}
    wanted = [(item.sample.id, item.repeat) for item in items]
    if len(outputs) != len(items) or any(key not in found for key in wanted):
        answered = [(output.sample_id, output.repeat) for output in outputs]
        raise ValueError(f"task {task.card.name} answered {answered} when asked for {wanted}")
    return [_settled(found[key]) for key in wanted]


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
