"""The record of a run: what `results.json` holds.

A record says what was measured, on what, and how sure it is. It carries a digest of all that equal
runs share, so that a number changed by hand is noticed, and the SHA-256 of each task's scores,
which stand beside it (`unimm_eval.api.record_files`). The form is published as JSON Schema in
`record.schema.json`, which a test holds to this file.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimm_eval.api.samples import canonical_json
from unimm_eval.api.tasks import Direction

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION: Final = 2


Finite = Annotated[float, Field(allow_inf_nan=False)]
Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelInfo(_Strict):
    """Which weights were judged."""

    name: str = Field(description="name of the model")
    spec: str = Field(description="what was given to --model")
    fingerprint: str = Field(description="identity of the weights")
    facts: Mapping[str, Any] = Field(default_factory=dict, description="parameters, encoder, …")


class ChildInfo(ModelInfo):
    """A finetuned child of the model, which answered the questions about pictures."""

    parents: tuple[str, ...] = Field(
        description="fingerprints of what it was finetuned from, nearest first"
    )
    because: str = Field(
        "", description="why it counts as the model's child, where its parents do not tell"
    )


class RunInfo(_Strict):
    """What was asked of them."""

    name: str = Field(description="model and plan hash: the default name of the folder")
    seed: int = Field(description="seed of the run")
    plan_hash: str = Field(description="identity of model, tasks, samples and settings")
    tasks: Mapping[str, Mapping[str, Any]] = Field(
        description="per task: protocol hash, settings, generation, judge, samples"
    )


class ScoresFile(_Strict):
    """The scores of one task's outputs, in a file beside the record."""

    rows: int = Field(ge=0, description="outputs, one a row")
    samples: int = Field(ge=0, description="different samples among them")
    unscored: int = Field(0, ge=0, description="rows that could not be scored")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file")


class Result(_Strict):
    """One metric of one task."""

    task: str = Field(description="task name")
    metric: str = Field(description="metric name")
    value: Finite = Field(description="the number")
    stderr: Error | None = Field(None, description="clustered standard error")
    interval: tuple[Finite, Finite] | None = Field(None, description="95% interval")
    n: int = Field(ge=0, description="samples in the number")
    unscored: int = Field(0, ge=0, description="samples left out because they could not be scored")
    chance: Finite | None = Field(None, description="what knowing nothing scores")
    direction: Direction = Field(description="whether higher or lower is better")
    unit: str = Field("", description="unit of the value")
    range: tuple[Finite | None, Finite | None] = Field((None, None), description="possible values")
    headline: bool = Field(False, description="the task's first metric")
    mini: bool = Field(description="measured on the embedded world, not official")
    limited: bool = Field(False, description="--limit was used")
    protocol_hash: str = Field(description="numbers with different hashes are not comparable")
    facts: Mapping[str, Any] = Field(default_factory=dict, description="details of the metric")
    answered_by: str = Field(
        "",
        exclude_if=lambda value: not value,
        description="fingerprint of the child that answered; absent where it was the model",
    )


class RunRecord(_Strict):
    """Everything that was measured. Equal runs have equal records but for `volatile`."""

    schema_version: Literal[2] = Field(description="version of this schema")
    digest: str = Field(
        "", description="SHA-256 of everything but `volatile`; filled in when a record is made"
    )
    model: ModelInfo
    vqa_model: ChildInfo | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="the child that answered for the model; absent where there is none",
    )
    run: RunInfo
    results: tuple[Result, ...]
    scores: Mapping[str, ScoresFile] = Field(
        default_factory=dict, description="per task with scores of its own: their file"
    )
    volatile: Mapping[str, Any] = Field(
        default_factory=dict, description="times, host, paths, versions: may differ between runs"
    )

    @model_validator(mode="after")
    def _sealed(self) -> "RunRecord":
        rows = [(row.task, row.metric) for row in self.results]
        if twice := sorted({"/".join(row) for row, count in Counter(rows).items() if count > 1}):
            raise ValueError(f"{', '.join(twice)} stands in it twice")
        child = {self.vqa_model.fingerprint} if self.vqa_model else set()
        if strange := {row.answered_by for row in self.results} - child - {""}:
            raise ValueError(f"answered_by names {strange.pop()}, which is no model of the run")
        content = self.model_dump(mode="json", exclude={"digest", "volatile"})
        text = canonical_json(content).encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(text).hexdigest()
        if self.digest not in ("", digest):
            raise ValueError("the digest does not fit: it was changed after it was written")
        object.__setattr__(self, "digest", digest)
        return self

    def changed(self, **fields: Any) -> "RunRecord":
        """The record with other fields, sealed anew."""
        kept = {name: getattr(self, name) for name in type(self).model_fields if name != "digest"}
        return RunRecord(**kept | fields)

    def to_pandas(self) -> "pd.DataFrame":
        """One row a metric, with the model and the run before it: frames of many records can be
        put below each other."""
        import pandas as pd

        whose = {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "run": self.run.name,
            "seed": self.run.seed,
        }
        return pd.DataFrame([whose | row.model_dump() for row in self.results])

    def get(self, task: str, metric: str | None = None) -> Result:
        """The result of a metric, by default the task's headline. Raises KeyError."""
        for row in self.results:
            if row.task == task and (row.metric == metric or (metric is None and row.headline)):
                return row
        raise KeyError(f"{task}/{metric or 'headline'} is not in the record")


def json_schema() -> dict[str, Any]:
    """The form as JSON Schema (draft 2020-12), as it is published."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **RunRecord.model_json_schema(mode="serialization"),
    }
