"""The record of a run: `results.json`."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from unimm_eval.api.tasks import Direction

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Final = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelInfo(_Strict):
    name: str = Field(description="name of the model")
    spec: str = Field(description="what was given to --model")
    fingerprint: str = Field(description="identity of the weights")
    facts: Mapping[str, Any] = Field(default_factory=dict, description="parameters, encoder, …")


class RunInfo(_Strict):
    name: str = Field(description="model and plan hash: the default name of the folder")
    seed: int = Field(description="seed of the run")
    plan_hash: str = Field(description="identity of model, tasks, samples and settings")
    tasks: Mapping[str, Mapping[str, Any]] = Field(
        description="per task: protocol hash, settings, generation, samples"
    )


class Result(_Strict):
    """One metric of one task."""

    task: str = Field(description="task name")
    metric: str = Field(description="metric name")
    value: float = Field(description="the number")
    stderr: float | None = Field(None, description="clustered standard error")
    interval: tuple[float, float] | None = Field(None, description="95% interval")
    n: int = Field(description="samples in the number")
    unscored: int = Field(0, description="samples left out because they could not be scored")
    chance: float | None = Field(None, description="what knowing nothing scores")
    direction: Direction = Field(description="whether higher or lower is better")
    unit: str = Field("", description="unit of the value")
    range: tuple[float | None, float | None] = Field((None, None), description="possible values")
    headline: bool = Field(False, description="the task's first metric")
    mini: bool = Field(description="measured on the embedded world, not official")
    limited: bool = Field(False, description="--limit was used")
    protocol_hash: str = Field(description="numbers with different hashes are not comparable")
    facts: Mapping[str, Any] = Field(default_factory=dict, description="details of the metric")

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("a result must be a finite number")
        return value


class RunRecord(_Strict):
    """Everything that was measured. Equal runs have equal records but for `volatile`."""

    schema_version: Literal[1] = Field(description="version of this schema")
    model: ModelInfo
    run: RunInfo
    results: tuple[Result, ...]
    volatile: Mapping[str, Any] = Field(
        default_factory=dict, description="times, host, paths, versions: may differ between runs"
    )

    def to_pandas(self) -> "pd.DataFrame":
        """One row a metric."""
        import pandas as pd

        return pd.DataFrame([row.model_dump() for row in self.results])

    def get(self, task: str, metric: str | None = None) -> Result:
        """The result of a metric, by default the task's headline. Raises KeyError."""
        for row in self.results:
            if row.task == task and (row.metric == metric or (metric is None and row.headline)):
                return row
        raise KeyError(f"{task}/{metric or 'headline'} is not in the record")
