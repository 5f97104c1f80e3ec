"""The plan of a run: which outputs are asked for, and in which batches, fixed before the first.

Which samples share a batch can change the last bits of an answer, so batches depend on the sample
list and the settings alone, never on what was done before: a run that continues computes the same
batches, whole.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from unimm_eval.api import Item, Sample, Task, UserError, hash_in_unit, item_seed, stable_hash

BatchSize = int | Literal["auto"]

# Outputs at once by what is asked of the model: (on a CPU, on an accelerator). A guess that is
# too large is halved when memory runs out; one that is too small only costs speed.
_AUTO: dict[str, tuple[int, int]] = {
    "ScoresText": (16, 32),
    "GeneratesText": (16, 32),
    "GeneratesImages": (16, 32),
    "DenoisesImages": (32, 64),
    "PredictsFrames": (1, 4),
    "ExposesFeatures": (32, 128),
    "ExposesRouting": (32, 64),
}


@dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """A task with its samples after `limit`; `limited` says that some were left out. `unit` is what
    of the model its numbers are measured in, empty where nothing is. `answered_by` is the
    fingerprint of the child that is asked instead of the run's model."""

    task: Task
    samples: tuple[Sample, ...]
    limited: bool
    batch_size: int
    seed: int
    unit: Mapping[str, Any] = field(default_factory=dict)
    answered_by: str = ""

    @property
    def name(self) -> str:
        return self.task.card.name

    @cached_property
    def overrides(self) -> dict[str, Any]:
        """What `--set` changed, but for settings that change no number's meaning."""
        changed = self.task.config.model_dump(
            mode="json", exclude_defaults=True, exclude=set(self.task.unpinned)
        )
        return dict(sorted(changed.items()))

    @cached_property
    def protocol_hash(self) -> str:
        return hash_in_unit(self.task.protocol_hash(self.overrides), self.unit)

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """All outputs to produce, in order."""
        return tuple(
            Item(sample=sample, repeat=repeat, seed=item_seed(self.seed, sample.id, repeat))
            for sample in self.samples
            for repeat in range(sample.repeats)
        )

    def output_key(self, item: Item, *, model_key: str) -> str:
        """Identity of one answer: model, what is asked, generation settings and seed."""
        return stable_hash([model_key, self._asked, item.sample.id, item.repeat, item.seed])

    @cached_property
    def _asked(self) -> str:
        return stable_hash([self.name, self.overrides, self.task.generation()])

    def identity(self) -> dict[str, Any]:
        """All that the task's numbers depend on besides the model."""
        revision, data = self.task.data_revision(), self.task.data_identity()
        return {
            **({"data": dict(revision)} if revision else {}),
            **({"data_identity": data} if data else {}),
            "protocol_hash": self.protocol_hash,
            "set": self.overrides,
            "generation": dict(self.task.generation()),
            "judge": self.task.judge_identity(),
            "samples": len(self.samples),
            "outputs": len(self.items),
            "samples_hash": stable_hash([[sample.id, sample.repeats] for sample in self.samples]),
            **({"unit": dict(self.unit)} if self.unit else {}),
            **({"answered_by": self.answered_by} if self.answered_by else {}),
        }


def plan_task(
    task: Task, *, seed: int, limit: int | None, batch_size: BatchSize, device: str
) -> PlannedTask:
    """List a task's samples and fix its batch size. Raises UserError when there are none."""
    at_most = task.config.limit or limit
    stream = iter(task.samples())
    samples = tuple(islice(stream, at_most))
    if not samples:
        raise UserError(f"Task {task.card.name} has no samples.")
    ids = {sample.id for sample in samples}
    if len(ids) != len(samples):
        raise ValueError(f"task {task.card.name}: {len(samples) - len(ids)} sample ids are not new")
    if batch_size == "auto":
        batch_size = auto_batch_size(task.requires(), device=device)
    return PlannedTask(
        task=task,
        samples=samples,
        limited=at_most is not None and next(stream, None) is not None,
        batch_size=batch_size,
        seed=seed,
    )


def auto_batch_size(capabilities: frozenset[str], *, device: str) -> int:
    """What `--batch-size auto` means: a function of its arguments alone, so that the same command
    plans the same batches."""
    column = 0 if device == "cpu" else 1
    return min((_AUTO[name][column] for name in capabilities if name in _AUTO), default=16)


def even_sizes(outputs: int, batch_size: int) -> list[int]:
    """Sizes of consecutive batches: all `batch_size` but for the last."""
    whole, rest = divmod(outputs, batch_size)
    return [batch_size] * whole + ([rest] if rest else [])


def halved_sizes(sizes: Sequence[int], index: int, *, kept: Container[int] = ()) -> list[int]:
    """Sizes after batch `index` ran out of memory: it and the later ones are cut so that none is
    more than half of it. The earlier ones, which are done, stay, and so do the later ones whose
    numbers are `kept`."""
    half = (sizes[index] + 1) // 2
    cut = list(sizes[:index])
    for number, size in enumerate(sizes[index:], start=index):
        cut += [size] if number in kept else even_sizes(size, half)
    return cut


def key_of(item: Item) -> tuple[str, int]:
    """What the store knows an output by."""
    return item.sample.id, item.repeat


def slices(items: Sequence[Item], sizes: Sequence[int]) -> Iterator[Sequence[Item]]:
    start = 0
    for size in sizes:
        yield items[start : start + size]
        start += size
