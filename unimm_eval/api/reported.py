"""Reported rows: numbers that others published, kept apart from what was measured here.

They have a form of their own, so that none can be taken for a measurement: no sample, no error, no
record stands behind them. A file holds numbers as they were printed, and by column the task and
metric they correspond to and the factor that brings them to our unit.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unimm_eval.api.errors import UserError, explain
from unimm_eval.api.tasks import Direction

REPORTED_FOLDER = "reported"

Subject = Literal["model", "data", "encoder", "law"]
Printed = Annotated[float, Field(allow_inf_nan=False)]
Bound = Printed | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Publication(_Strict):
    """Where numbers were read."""

    name: str = Field(min_length=1, description="short name, shown beside the numbers")
    title: str = Field(min_length=1, description="title of the paper or page")
    url: str = Field(pattern="^https://", description="where it stands")
    revision: str = Field(min_length=1, description="version of the paper or commit of the page")
    year: int = Field(ge=2000, le=2100)


class ReportedColumn(_Strict):
    """What the numbers of a column mean."""

    task: str = Field(min_length=1, description="task of ours they correspond to, or its like")
    metric: str = Field(min_length=1, description="metric of that task, or its like")
    direction: Direction
    unit: str = Field("", description="unit of the value, after conversion")
    range: tuple[Bound, Bound] = Field(description="possible values, after conversion")
    scale: float = Field(1.0, gt=0, allow_inf_nan=False, description="value = printed × scale")
    protocol: str = Field(min_length=1, description="how it was measured, as far as is told")


class ReportedEntry(_Strict):
    """One model, or one other thing that was measured, and its numbers as printed."""

    model: str = Field(min_length=1, description="whose numbers they are")
    subject: Subject = Field("model", description="what `model` names")
    parameters: Annotated[float, Field(gt=0)] | None = Field(None, description="as told")
    where: str = Field(min_length=1, description="table, section or file")
    note: str = Field("", description="what a reader must know")
    values: Mapping[str, Printed] = Field(min_length=1, description="by column, as printed")


class ReportedFile(_Strict):
    """One file of `results/reported/`."""

    schema_version: Literal[1]
    source: Publication
    columns: Mapping[str, ReportedColumn] = Field(min_length=1)
    rows: tuple[ReportedEntry, ...] = Field(min_length=1)


class ReportedRow(_Strict):
    """One published number, in our unit. Never merged with a `Result`, never tested against one."""

    model: str
    subject: Subject
    parameters: float | None
    task: str
    metric: str
    value: float
    printed: float
    scale: float
    direction: Direction
    unit: str
    range: tuple[float | None, float | None]
    protocol: str
    source: str
    where: str
    note: str
    url: str
    revision: str
    year: int


def load_reported(path: str | Path) -> tuple[ReportedRow, ...]:
    """The rows of a file, or of all files of a folder, by name. Raises UserError naming the file
    that cannot be read, names a number twice, or holds one out of its range."""
    path = Path(path)
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    rows = [row for file in files for row in _read(file)]
    seen: set[tuple[str, ...]] = set()
    for row in rows:
        size = f"{row.parameters or 0:g}"
        key = (row.source, row.model, size, row.task, row.metric, row.protocol)
        if key in seen:
            raise UserError(
                f"{path}: {row.source} has {row.task}/{row.metric} of {row.model} twice."
            )
        seen.add(key)
    return tuple(rows)


def _read(file: Path) -> list[ReportedRow]:
    import yaml

    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        content = ReportedFile.model_validate(document)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file} is not YAML: {error}") from error
    except ValidationError as error:
        raise UserError(f"{file} holds no reported rows: {explain(error)}.") from error
    rows = []
    for entry in content.rows:
        for name, printed in entry.values.items():
            if name not in content.columns:
                raise UserError(f"{file}: {entry.model} has a number in no column {name!r}.")
            rows.append(_row(file, content, entry, name, printed))
    return rows


def _row(
    file: Path, content: ReportedFile, entry: ReportedEntry, name: str, printed: float
) -> ReportedRow:
    column, source = content.columns[name], content.source
    value = float(f"{printed * column.scale:.10g}")  # 84.11 · 0.01 is 0.8411, to the digit
    low, high = column.range
    if not (-math.inf if low is None else low) <= value <= (math.inf if high is None else high):
        raise UserError(f"{file}: {name} of {entry.model} is {value}, outside {low} to {high}.")
    return ReportedRow(
        model=entry.model,
        subject=entry.subject,
        parameters=entry.parameters,
        task=column.task,
        metric=column.metric,
        value=value,
        printed=printed,
        scale=column.scale,
        direction=column.direction,
        unit=column.unit,
        range=column.range,
        protocol=column.protocol,
        source=source.name,
        where=entry.where,
        note=entry.note,
        url=source.url,
        revision=source.revision,
        year=source.year,
    )
