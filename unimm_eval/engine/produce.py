"""Outputs: what of a plan is not in the store is asked of the model, and stored as it comes."""

from collections import deque
from collections.abc import Callable, Container, Mapping, Sequence

from unimm_eval.api import Context, IncompleteError, Item, Output, UserError
from unimm_eval.engine.ask import Asker, Batch
from unimm_eval.engine.plan import PlannedTask, halved_sizes, key_of, slices
from unimm_eval.engine.progress import Progress
from unimm_eval.engine.run import RunFolder
from unimm_eval.engine.stopped import TaskStopped
from unimm_eval.engine.store import ItemKey, Store


def produce(
    entry: PlannedTask,
    asker: Asker | None,
    *,
    folder: RunFolder,
    model_key: str,
    context: Context,
    progress: Progress,
    stored: Callable[[Sequence[Item], Sequence[Output]], None],
) -> None:
    """Ask the model for what is not in the store, batch by batch as planned, and tell `stored` what
    is in it from now on."""
    keys = {key_of(item): entry.output_key(item, model_key=model_key) for item in entry.items}
    done = _stored(entry, keys, folder.store)
    progress.phase(entry.name, "produce", total=len(keys), done=len(done))
    while batches := _unanswered(entry, folder.batch_sizes(entry.name), done):
        assert asker is not None, f"{entry.name} lacks outputs, and has no model"
        too_large: list[Batch] = []
        failed: Exception | None = None
        for batch, answer in asker.answers(entry.task, batches, context):
            if answer.error is not None:
                failed = failed or answer.error
                batches.clear()
            elif answer.outputs is None:
                too_large.append(batch)
                batches.clear()
            else:
                fresh = [item for item in batch.items if key_of(item) not in done]
                rows = [
                    (keys[key_of(item)], output)
                    for item, output in zip(batch.items, answer.outputs, strict=True)
                ]
                folder.store.add_outputs(entry.name, rows)
                done |= {key_of(item) for item in fresh}
                progress.advance(entry.name, len(fresh))
                stored(batch.items, answer.outputs)
        if failed is not None:
            raise TaskStopped(failed)
        if too_large:
            _halve(entry, min(too_large, key=lambda batch: batch.number), done, folder, progress)


def _stored(entry: PlannedTask, keys: Mapping[ItemKey, str], store: Store) -> set[ItemKey]:
    """Items whose output is in the store. Raises UserError when one is of another origin."""
    there = store.output_keys(entry.name)
    for item, key in keys.items():
        if there.get(item, key) != key:
            raise UserError(
                f"{store.path} holds outputs of another model or other settings.",
                fix="Choose another folder with --output.",
            )
    return set(there)


def _unanswered(entry: PlannedTask, sizes: Sequence[int], done: Container[ItemKey]) -> deque[Batch]:
    """Batches with an item that is not done; whole ones, for answers depend on what they are
    batched with."""
    batches = (
        Batch(number=number, items=tuple(items))
        for number, items in enumerate(slices(entry.items, sizes))
    )
    return deque(
        batch for batch in batches if any(key_of(item) not in done for item in batch.items)
    )


def _halve(
    entry: PlannedTask,
    batch: Batch,
    done: Container[ItemKey],
    folder: RunFolder,
    progress: Progress,
) -> None:
    """Plan smaller batches from `batch` on, which did not fit in memory. Those that are answered
    stay as they are."""
    if len(batch.items) == 1:
        raise TaskStopped(
            IncompleteError(
                f"Task {entry.name}: not even one sample at a time fits in memory.",
                fix="Choose a device with more memory.",
            )
        )
    sizes = folder.batch_sizes(entry.name)
    kept = {
        number
        for number, items in enumerate(slices(entry.items, sizes))
        if all(key_of(item) in done for item in items)
    }
    sizes = halved_sizes(sizes, batch.number, kept=kept)
    folder.set_batch_sizes(entry.name, sizes)
    progress.note(f"{entry.name}: out of memory, batches of {sizes[batch.number]} from now on")
