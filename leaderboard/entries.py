"""From published records to rows: which model each is of, and what is known about it.

Runs of one model under one seed fill one row where they measured different tasks; a second number
for the same column makes a second row. Facts are whatever a submitter wrote, so each is checked
for its type and made safe to look at.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import RunRecord, stable_hash
from unimm_eval.leaderboard.board import CHILD_MARK, Row
from unimm_eval.report.plain import one_line

NAME_LIMIT = 80
TAG_LIMIT = 40


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A record that was read, and the file it came from (`name`: relative to the results)."""

    name: str
    path: Path
    record: RunRecord


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A row of the boards and the records it is made of."""

    row: Row
    entries: tuple[Entry, ...]


def safe(text: str, limit: int = NAME_LIMIT) -> str:
    """Text from outside on one line, without controls, no longer than `limit` and a note."""
    return one_line(text, limit=limit).strip() or "(no name)"


def slug(text: str, *, identity: str) -> str:
    """A file name that is safe everywhere, readable, and unique to `identity`."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in text[:60].lower())
    words = "-".join(filter(None, plain.split("-")))
    return f"{words}-{identity}" if words else identity


def model_entries(entries: Iterable[Entry]) -> list[ModelEntry]:
    """Rows of records, which are given in the order of their names."""
    bundles: dict[tuple[str, int], list[list[Entry]]] = {}
    for entry in entries:
        key = (entry.record.model.fingerprint, entry.record.run.seed)
        mine = bundles.setdefault(key, [])
        fitting = next((bundle for bundle in mine if _fits(bundle, entry)), None)
        if fitting is None:
            mine.append([entry])
        else:
            fitting.append(entry)
    rows = [
        ModelEntry(row=_row(bundle, place), entries=tuple(bundle))
        for group in bundles.values()
        for place, bundle in enumerate(group)
    ]
    return _told_apart(rows)


def model_size(facts: Mapping[str, Any], key: str) -> float | None:
    """A positive number among the facts, or None."""
    value = facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1e30 and math.isfinite(value) else None


def training_flops(facts: Mapping[str, Any]) -> float | None:
    """FLOPs of training: what the facts say, else 6 · active parameters · tokens (Kaplan et al.,
    arXiv:2001.08361)."""
    if said := model_size(facts, "training_flops"):
        return said
    training = facts.get("training")
    tokens = model_size(training, "tokens") if isinstance(training, Mapping) else None
    active = model_size(facts, "active_parameters")
    return 6 * active * tokens if active and tokens else None


def compact(value: float | None) -> str:
    """`8.89M`, `1.3B`, `2.1e21`; empty for None."""
    if value is None:
        return ""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if unit <= value < 1000 * unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.0f}" if value < 1e3 else f"{value:.2g}".replace("e+", "e")


def _fits(bundle: Sequence[Entry], entry: Entry) -> bool:
    """Whether a row can hold an entry as well: it has other numbers, and no other child of the
    model answered in it."""
    measured = {row.task for other in bundle for row in other.record.results}
    children = {
        child.fingerprint
        for each in (*bundle, entry)
        if (child := each.record.vqa_model) is not None
    }
    return len(children) <= 1 and not any(row.task in measured for row in entry.record.results)


def _row(bundle: Sequence[Entry], place: int) -> Row:
    record = bundle[0].record
    model, seed = record.model, record.run.seed
    identity = stable_hash([model.fingerprint, seed, place], length=8)
    facts = model.facts
    return Row(
        id=slug(model.name, identity=identity),
        name=safe(model.name),
        note=next((_child_note(each.record) for each in bundle if each.record.vqa_model), ""),
        kind=_kind(model.spec),
        tags=_tags(facts),
        active=model_size(facts, "active_parameters"),
        total=model_size(facts, "parameters"),
        flops=training_flops(facts),
    )


def _child_note(record: RunRecord) -> str:
    """The footnote of a row in which a finetuned child answered for the model."""
    child = record.vqa_model
    assert child is not None
    because = f": {safe(child.because, 120)}" if child.because else ""
    return f"{CHILD_MARK} by its finetuned child {safe(child.name)}{because}"


def _told_apart(rows: Sequence[ModelEntry]) -> list[ModelEntry]:
    """Rows with equal names carry their run as a note."""
    names = [entry.row.name for entry in rows]
    found = []
    for entry in rows:
        row = entry.row
        if names.count(row.name) > 1:
            record = entry.entries[0].record
            note = f"seed {record.run.seed}, {safe(record.run.name, 40)}"
            note = f"{note}; {row.note}" if row.note else note
            row = Row(**{**vars(row), "note": note})
        found.append(ModelEntry(row=row, entries=entry.entries))
    return found


def _kind(spec: str) -> str:
    """What kind of model a spec names: `hf`, `openai`, …, or a checkpoint of ours."""
    kind, colon, _ = spec.partition(":")
    return safe(kind, 20) if colon and kind.isascii() and kind.isalnum() else "checkpoint"


def _tags(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What the architecture is, in a few words that can be filtered by."""
    architecture = facts.get("architecture")
    encoder = facts.get("encoder")
    tags = []
    if isinstance(architecture, Mapping):
        words = {"moe": "MoE", "shared": "dense", "modality": "FFN per modality"}
        tags.append(words.get(_text(architecture.get("feed_forward")), ""))
        if architecture.get("feed_forward") == "moe":
            tags.append(
                {"modality": "experts per modality"}.get(
                    _text(architecture.get("shared_experts")), ""
                )
            )
        prediction = _text(architecture.get("prediction"))
        tags.append(f"{prediction}-pred" if prediction else "")
    if isinstance(encoder, Mapping):
        tags.append(_text(encoder.get("kind")).replace("_", " "))
    return tuple(tag for tag in tags if tag)


def _text(value: object) -> str:
    return one_line(value, limit=TAG_LIMIT) if isinstance(value, str) else ""
