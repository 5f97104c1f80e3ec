"""What a task is: three steps that never mix (samples → produce → judge) and a summary."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from unimm_eval.api.pictures import Picture
from unimm_eval.api.samples import Exhibit, Item, Output, Sample, Score, stable_hash

if TYPE_CHECKING:
    import numpy as np

Direction = Literal["higher", "lower"]


class TaskConfig(BaseModel):
    """Settings of a task that `--set task.key=value` changes. Subclass to add more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int | None = Field(None, ge=1, description="use only the first so many samples")


class Reference(BaseModel):
    """A published number, with where it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="whose number it is")
    metric: str = Field(description="metric of this task it corresponds to")
    value: float = Field(description="as published, converted to the metric's unit")
    source: str = Field(description="paper, table or file it was read from")


class MetricSpec(BaseModel):
    """What a metric of the task means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    direction: Direction = Field(description="whether higher or lower is better")
    unit: str = Field("", description="unit of the value")
    range: tuple[float | None, float | None] = Field(
        (0.0, 1.0), description="smallest and largest possible value"
    )
    description: str = Field("", description="one line for a reader of the table")


class Card(BaseModel):
    """`card.yaml`: what pins a task's protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="task name on the command line")
    task_class: str = Field(description="class of the task in the package that holds the card")
    title: str = Field(description="one line for the task list")
    protocol: str = Field(description="name of the protocol")
    version: int = Field(description="raised whenever numbers may change")
    mini: bool = Field(False, description="measured on the embedded world, not official")
    requires: tuple[str, ...] = Field(description="capabilities a model must have")
    data: Mapping[str, Any] = Field(
        default_factory=dict, description="source, revision and SHA-256 of the data"
    )
    settings: Mapping[str, Any] = Field(
        default_factory=dict, description="what the protocol fixes: prompts, parser, steps, judge"
    )
    metrics: Mapping[str, MetricSpec] = Field(description="metrics by name; the first is headline")
    budget: Mapping[str, Any] = Field(
        default_factory=dict, description="samples and seconds a mini task may take"
    )
    samples: int | None = Field(None, ge=1, description="questions that the protocol has")
    unscored: int = Field(
        0, ge=0, description="outputs that the protocol itself leaves without a score"
    )
    references: tuple[Reference, ...] = Field((), description="published numbers")

    @property
    def whole(self) -> int | None:
        """How many samples a whole run has, where the card says so."""
        return self.samples or self.budget.get("samples")

    def protocol_hash(self, overrides: Mapping[str, Any], judge: str = "") -> str:
        """Identity of the protocol: the card without its budget, titles and references, what
        `--set` changed, and the resolved judge. Two numbers with different hashes are never put in
        one column."""
        return stable_hash({"card": self.pinned(), "set": dict(overrides), "judge": judge})

    def pinned(self) -> dict[str, Any]:
        """The fields that identify the protocol, JSON-able."""
        return self.model_dump(
            mode="json", include={"name", "protocol", "version", "mini", "data", "settings"}
        )


def hash_in_unit(protocol_hash: str, unit: Mapping[str, Any]) -> str:
    """A protocol hash of numbers that are measured in `unit`, where they have one."""
    return stable_hash([protocol_hash, dict(unit)]) if unit else protocol_hash


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number with its error.

    `stderr` is clustered; `interval` is the 95% interval; `chance` what knowing nothing scores.
    """

    name: str
    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    n: int
    unscored: int = 0
    chance: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the engine lends to `produce`."""

    device: str
    data_dir: Path

    def rng(self, item: Item, key: str = "") -> "np.random.Generator":
        """Generator of one item; `key` separates several uses within it."""
        import numpy as np

        words = [item.seed & 0xFFFFFFFF, item.seed >> 32, *key.encode()]
        return np.random.default_rng(np.random.SeedSequence(words))


class Task(ABC):
    """A benchmark. Subclasses live in `tasks/<name>/` beside their `card.yaml` and `README.md`."""

    Config: ClassVar[type[TaskConfig]] = TaskConfig
    scope: ClassVar[Literal["sample", "repeats", "set"]] = "sample"
    """What `judge` must see at once: an output, all outputs of a sample (how far its pictures are
    apart), or all outputs (probes)."""
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit"})
    """Settings that change no number's meaning (where files lie): not in the protocol hash."""

    about_pictures: ClassVar[bool] = False
    """Whether it asks questions about pictures, to be answered in text: of a model that was
    finetuned for them, where there is one (`--vqa-model`)."""

    def __init__(self, card: Card, config: TaskConfig, *, data_dir: Path) -> None:
        self.card = card
        self.config = config
        self.data_dir = data_dir

    def requires(self) -> frozenset[str]:
        """Capabilities needed under this configuration."""
        return frozenset(self.card.requires)

    def check(self) -> None:
        """Raise UserError when data or judges are missing; called before any model is loaded."""

    @abstractmethod
    def samples(self) -> Iterable[Sample]:
        """All samples in order, before `limit`."""

    def generation(self) -> Mapping[str, Any]:
        """Settings an output depends on besides model, sample and seed; part of its key."""
        return {}

    def judge_identity(self) -> str:
        """Name and revision of what scores the outputs; scores are kept apart by it."""
        return f"{self.card.protocol}@{self.card.version}"

    def data_identity(self) -> str:
        """Hash of the data that the user brought, by content; empty where the card pins it."""
        return ""

    def data_revision(self) -> Mapping[str, str]:
        """What was resolved of data whose revision the card cannot pin, by source: part of what a
        run is a run of, and named when it is another one than before."""
        return {}

    def protocol_hash(self, overrides: Mapping[str, Any]) -> str:
        """Identity of the protocol under what `--set` changed, with the data and the judge."""
        changed = {key: value for key, value in overrides.items() if key not in self.unpinned}
        if identity := self.data_identity():
            changed["data"] = identity
        return self.card.protocol_hash(changed, self.judge_identity())

    def unit_of(self, model: Any) -> Mapping[str, Any]:
        """What of the model its numbers are measured in (the latents of a frozen encoder): part of
        the protocol hash, so that numbers in different units are never put in one column."""
        return {}

    @abstractmethod
    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """Ask the model. One output an item, in any order. The only step that touches the model."""

    @abstractmethod
    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Score outputs; `samples[i]` belongs to `outputs[i]`. Never touches the model."""

    @abstractmethod
    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Named metrics from aligned samples and scores (unscored ones included)."""

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        """How the report shows one output; None leaves it out."""
        return None

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """The run in the benchmark's own files, for the tools of others: a path within
        `exports/<task>/` of the run's folder, and bytes or a picture of an output."""
        return iter(())
