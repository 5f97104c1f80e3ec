"""Runs as points: compute C, size N, tokens D and the loss that was reached.

From a CSV file with the columns `flops`, `params`, `tokens`, `loss` and, where they apply,
`modality`, `arch` and `active_params`; or from the records of runs. N is the number of active
parameters (paper §7): a token pays for no others.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import RunRecord, UserError, load_record

NUMBERS = ("flops", "params", "tokens", "loss")
OPTIONAL = ("modality", "arch", "active_params")
LANGUAGE, VISION = "language", "vision"
_NAMES = {"text": LANGUAGE, "image": VISION, "images": VISION}
DENSE, MOE = "dense", "moe"
ANY = "all"
"""Modality of a file that tells none apart."""
SHOWN = 8
"""Problems of a file that are told one by one."""
RECORDED = {
    LANGUAGE: tuple((task, "perplexity") for task in ("dclm", "notes", "text", "dclm:mini")),
    VISION: tuple((task, "flow_loss") for task in ("cc12m", "cc12m:mini")),
}
"""Whose numbers of a record are losses, the first that there is: of perplexities the logarithm,
nats a token."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run: `size` is N, the active parameters; `place` says where it was read."""

    modality: str
    arch: str
    flops: float
    size: float
    tokens: float
    loss: float
    place: str


@dataclass(frozen=True, kw_only=True)
class Points:
    """All runs of a file, and the columns of it that were not used."""

    points: tuple[Point, ...]
    unused: tuple[str, ...] = ()


def read_points(path: Path) -> Points:
    """Runs of a CSV file, or of the records below a folder. Raises UserError that names every row
    or record that cannot be used."""
    if path.is_dir():
        return Points(points=tuple(_of_records(path)))
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(
            f"{path} cannot be read: {reason}.", fix="Give a CSV file, or a folder of runs."
        ) from error
    return _of_csv(path.name, text)


def _of_csv(name: str, text: str) -> Points:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    try:
        columns = [column.strip() for column in rows.fieldnames or ()]
        rows.fieldnames = columns
        numbered = [(rows.line_num, row) for row in rows]
    except csv.Error as error:
        raise UserError(f"{name} line {rows.line_num}: not CSV ({error}).") from error
    if missing := [column for column in NUMBERS if column not in columns]:
        raise UserError(
            f"{name} has no column {', '.join(missing)}.",
            fix=f"Its first line must name {', '.join(NUMBERS)} and may name "
            f"{', '.join(OPTIONAL)}.",
        )
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise UserError(f"{name} has the column {', '.join(twice)} twice.")
    points: list[Point] = []
    problems: list[str] = []
    for line, row in numbered:
        place = f"{name} line {line}"
        try:
            points.append(_point(place, row))
        except ValueError as error:
            problems.append(f"{place}: {error}.")
    if problems:
        left = len(problems) - SHOWN
        more = [f"… and {left} other lines."] if left > 0 else []
        raise UserError("\n".join([*problems[:SHOWN], *more]), fix="Mend or leave out these lines.")
    if not points:
        raise UserError(f"{name} has no rows.", fix="Give one row a run.")
    known = {*NUMBERS, *OPTIONAL}
    return Points(points=tuple(points), unused=tuple(c for c in columns if c not in known))


def _point(place: str, row: Mapping[str | None, Any]) -> Point:
    """Raises ValueError that says what is wrong with the row."""
    if None in row or None in row.values():
        raise ValueError("not as many fields as there are columns")
    cells = {str(column): str(value).strip() for column, value in row.items()}
    values = {column: _positive(column, cells[column]) for column in NUMBERS}
    arch = cells.get("arch", "").lower() or DENSE
    modality = cells.get("modality", "").lower() or ANY
    size = values["params"]
    if active := cells.get("active_params", ""):
        size = _positive("active_params", active)
        if size > values["params"]:
            raise ValueError(f"active_params ({active}) are more than params ({cells['params']})")
    elif arch == MOE:
        raise ValueError("active_params is missing, which a mixture of experts needs")
    return Point(
        modality=_NAMES.get(modality, modality),
        arch=arch,
        flops=values["flops"],
        size=size,
        tokens=values["tokens"],
        loss=values["loss"],
        place=place,
    )


def _positive(column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, not a number") from None
    if not 0 < value < math.inf:
        raise ValueError(f"{column} is {text}, but must be above 0 and finite")
    return value


def _of_records(folder: Path) -> Iterator[Point]:
    """Two points a record that has both losses. C is 6·N·D, as in the paper (§7)."""
    files = sorted(folder.rglob("results.json")) or sorted(folder.rglob("*.json"))
    records = [(file, load_record(file)) for file in files]
    if not records:
        raise UserError(f"{folder} holds no records of runs.", fix="Give a CSV file instead.")
    hashes: dict[tuple[str, str], tuple[str, Path]] = {}
    for file, record in records:
        size, tokens, arch = _cost(file, record)
        found = False
        for modality, where in RECORDED.items():
            rows = [row for key in where for row in record.results if key == (row.task, row.metric)]
            if not rows:
                continue
            found, row = True, rows[0]
            loss = math.log(row.value) if modality == LANGUAGE else row.value
            protocol, first = hashes.setdefault((modality, arch), (row.protocol_hash, file))
            if protocol != row.protocol_hash:
                raise UserError(
                    f"{file} and {first} measured {modality} by different protocols "
                    f"({row.protocol_hash} and {protocol}).",
                    fix="Measure all runs by one protocol.",
                )
            if not loss > 0:
                raise UserError(f"{file}: a loss of {loss:g} in {row.task} cannot be scaled.")
            yield Point(
                modality=modality,
                arch=arch,
                flops=6 * size * tokens,
                size=size,
                tokens=tokens,
                loss=loss,
                place=str(file),
            )
        if not found:
            tasks = ", ".join(task for where in RECORDED.values() for task, _ in where)
            raise UserError(f"{file} has no loss.", fix=f"Evaluate the model on one of {tasks}.")


def _cost(file: Path, record: RunRecord) -> tuple[float, float, str]:
    """(active parameters, tokens, architecture). Raises UserError."""
    facts = record.model.facts
    try:
        size, tokens = float(facts["active_parameters"]), float(facts["training"]["tokens"])
        experts = facts["architecture"]["feed_forward"] == "moe"
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} does not say what its model cost: {error} is missing or no number.",
            fix="Give records of checkpoints of unimm-train, or a CSV file.",
        ) from error
    if not (size > 0 and tokens > 0):
        raise UserError(f"{file}: a model of {size:g} parameters that saw {tokens:g} tokens.")
    return size, tokens, MOE if experts else DENSE
