"""WISE's prompt files: one record a prompt, its group told by its number."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unimm_eval.api import UserError
from unimm_eval.data import read_text

LAST_ID: Mapping[str, Mapping[str, int]] = {
    "legacy": {
        "culture": 400,
        "time": 567,
        "space": 700,
        "biology": 800,
        "physics": 900,
        "chemistry": 1000,
    },
    "verified": {
        "culture": 400,
        "time": 520,
        "space": 640,
        "biology": 760,
        "physics": 880,
        "chemistry": 1000,
    },
}
"""By protocol, the last id of each group; the first is 1."""


class Record(BaseModel):
    """A prompt; the names are the benchmark's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prompt_id: int = Field(description="also the name of the picture's file")
    Prompt: str = Field(min_length=1, description="what the model is asked for")
    Explanation: str = Field(min_length=1, description="what a right picture shows, for the judge")
    Category: str = Field(description="as the file has it; groups go by prompt_id")
    Subcategory: str = Field(description="as the file has it")


def read_records(paths: Sequence[Path], *, protocol: str) -> list[Record]:
    """All records, the groups taking turns, so that the first so many are of every group.

    Raises UserError naming the file and the record for what is not JSON, lacks a field, repeats an
    id or has one of no group.
    """
    seen: dict[int, Path] = {}
    by_group: dict[str, list[Record]] = {group: [] for group in LAST_ID[protocol]}
    for path in paths:
        for row in _rows(path):
            record = _record(row, path)
            number = record.prompt_id
            if number in seen:
                raise UserError(f"{path}: prompt_id {number} was in {seen[number].name} before.")
            seen[number] = path
            group = group_of(number, protocol=protocol)
            if group is None:
                raise UserError(f"{path}: prompt_id {number} belongs to no group of WISE.")
            by_group[group].append(record)
    columns = (sorted(rows, key=lambda row: row.prompt_id) for rows in by_group.values())
    turns = chain.from_iterable(zip_longest(*columns))
    return [record for record in turns if record is not None]


def group_of(number: int, *, protocol: str) -> str | None:
    """The group of a prompt by its id; None outside 1 to 1000."""
    if number < 1:
        return None
    return next((group for group, last in LAST_ID[protocol].items() if number <= last), None)


def _rows(path: Path) -> list[Any]:
    try:
        rows = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise UserError(f"{path} is no list of prompts.")
    return rows


def _record(row: Any, path: Path) -> Record:
    try:
        return Record.model_validate(row)
    except ValidationError as error:
        name = row.get("prompt_id", "?") if isinstance(row, dict) else "?"
        fields = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'record'}: {item['msg']}"
            for item in error.errors()
        )
        raise UserError(
            f"{path}: the record with prompt_id {name} is not whole: {fields}"
        ) from error
