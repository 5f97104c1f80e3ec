"""Options of a run: from the command line, over a YAML file with the same names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from unimm_eval.api import UserError, explain
from unimm_eval.engine.pool import ClusterOptions
from unimm_eval.engine.registry import nearest
from unimm_eval.engine.settings import parse_assignments


class RunOptions(BaseModel):
    """What `--config` may hold; the names are the command line's, with - or _."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(None, description="what to judge")
    tasks: tuple[str, ...] = Field((), description="what to measure")
    limit: int | None = Field(None, ge=1, description="first so many samples of each task")
    seed: int = Field(0, ge=0, description="seed of everything random")
    device: str = Field("auto", description="cpu, cuda, cuda:1, mps or auto")
    dtype: str = Field("auto", description="float32, bfloat16 or auto")
    batch_size: int | Literal["auto"] = Field("auto", description="outputs at once")
    output: Path | None = Field(None, description="folder of the run")
    set: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings by task, or a list of TASK.KEY=VALUE"
    )
    data_dir: Path | None = Field(None, description="folder of benchmark files")
    vqa_model: str | None = Field(None, description="finetuned child, asked about pictures")
    vqa_because: str = Field("", description="why it counts as the model's child")
    executor: Literal["local", "ray"] = Field("local", description="who asks the model")
    workers: int | None = Field(None, ge=1, description="workers that hold the model (ray)")
    worker_cpus: float | None = Field(None, gt=0, description="CPUs a worker (ray)")
    worker_gpus: float | None = Field(None, ge=0, description="GPUs a worker (ray)")
    scorers: int | None = Field(None, ge=0, description="who judges, besides the workers (ray)")
    scorer_gpus: float | None = Field(None, ge=0, description="GPUs a scorer, or a part (ray)")
    address: str | None = Field(None, description="cluster to join; none: one is started (ray)")
    dry_run: bool = Field(False, description="say what would be done, and stop")

    @field_validator("tasks", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("set", mode="before")
    @classmethod
    def _settings(cls, value: Any) -> Any:
        return parse_assignments(value) if isinstance(value, list) else value

    @field_validator("batch_size", mode="before")
    @classmethod
    def _batch_size(cls, value: Any) -> int | str:
        text = str(value).strip()
        if text == "auto":
            return text
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"{text!r} is neither auto nor a whole number from 1")
        return int(text)


_OF_CLUSTER = ("workers", "worker_cpus", "worker_gpus", "scorers", "scorer_gpus", "address")


def cluster_of(options: RunOptions) -> ClusterOptions | None:
    """The cluster that a run is to use. Raises UserError for its options without --executor ray."""
    given = {name: getattr(options, name) for name in _OF_CLUSTER}
    given = {name: value for name, value in given.items() if value is not None}
    if options.executor == "ray":
        return ClusterOptions(**given)
    if given:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UserError(f"{named} belongs to a cluster.", fix="Add --executor ray.")
    return None


def read_options(given: Mapping[str, Any], *, config: Path | None) -> RunOptions:
    """Options of the file `config`, overridden by `given`; settings are merged key by key.

    Raises UserError for a file that cannot be read, an unknown option (with the nearest known one)
    or a value it may not have.
    """
    filed = _read_config(config) if config else RunOptions()
    typed = _validated(given, source="The command line")
    merged = filed.model_dump(exclude_unset=True) | typed.model_dump(exclude_unset=True)
    merged["set"] = {
        task: filed.set.get(task, {}) | typed.set.get(task, {})
        for task in (*filed.set, *(task for task in typed.set if task not in filed.set))
    }
    return RunOptions.model_validate(merged)


def _read_config(path: Path) -> RunOptions:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a table of options.", fix="Write lines like `model: demo`.")
    named = {str(key).replace("-", "_"): value for key, value in document.items()}
    return _validated(named, source=str(path))


def _validated(values: Mapping[str, Any], *, source: str) -> RunOptions:
    known = RunOptions.model_fields
    unknown = [key for key in values if key not in known]
    if unknown:
        raise UserError(
            "\n".join(f"{source}: no option {key!r}{nearest(key, known)}." for key in unknown),
            fix=f"The options are: {', '.join(known)}.",
        )
    try:
        return RunOptions.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error)}.") from error
