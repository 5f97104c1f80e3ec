"""From a run's folder to what its page says."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from unimm_eval.api import Exhibit, Reference, Result, RunRecord, UserError
from unimm_eval.engine.load import LoadedRun, LoadedTask
from unimm_eval.engine.registry import group_entries
from unimm_eval.report.charts import Curve, Series
from unimm_eval.report.gallery import Gallery, choose
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.page import Contents, Section, Table
from unimm_eval.report.plain import one_line, visible

MAX_ENTRIES = 96
"""Outputs of one task on the page."""
PICTURE_BYTES = 2_500_000
"""Pictures on the whole page, encoded; the tasks share them equally."""
VALUE_LIMIT = 400
_CURVE = "by_time"


def contents_of(run: LoadedRun) -> Contents:
    """What the page of a finished run says, all text made safe to look at."""
    record = run.record
    volatile = record.volatile
    budget = PICTURE_BYTES // max(1, len(run.tasks))
    return Contents(
        model=one_line(record.model.name),
        spec=one_line(record.model.spec),
        fingerprint=one_line(record.model.fingerprint),
        child=_child(record),
        run=one_line(record.run.name),
        seed=record.run.seed,
        started=_moment(volatile.get("created")),
        sections=[
            *_group_sections(run),
            *(
                _section(
                    task,
                    rows=[row for row in record.results if row.task == name],
                    facts=record.run.tasks.get(name, {}),
                    max_bytes=budget,
                    child=_child(record),
                )
                for name, task in run.tasks.items()
            ),
        ],
        model_facts=_flat(record.model.facts),
        machine=_flat(
            {key: volatile[key] for key in ("device", "threads", "seconds") if key in volatile}
        )
        + _flat(volatile.get("hardware", {})),
        versions=_flat(volatile.get("versions", {})),
    )


def _section(
    loaded: LoadedTask,
    *,
    rows: Sequence[Result],
    facts: Mapping[str, Any],
    max_bytes: int,
    child: str,
) -> Section:
    card = loaded.task.card
    problem = ""
    gallery = Gallery()
    try:
        gallery = choose(_exhibits(loaded), max_entries=MAX_ENTRIES, max_bytes=max_bytes)
    except UserError as error:  # a file of the user's that is no longer where it was
        problem = visible(str(error))
    return Section(
        task=one_line(card.name),
        title=one_line(card.title),
        mini=card.mini,
        limited=any(row.limited for row in rows),
        rows=rows,
        descriptions={name: one_line(spec.description) for name, spec in card.metrics.items()},
        curves=_curves(rows),
        gallery=gallery,
        problem=problem,
        details=_details(rows),
        settings=[("protocol", f"{card.protocol}, version {card.version}"), *_flat(facts)],
        references=_references(card.references),
        answered_by=child if _by_child(rows) else "",
    )


def _group_sections(run: LoadedRun) -> Iterator[Section]:
    """Means of tasks, which have rows and no samples of their own."""
    groups = group_entries()
    names = dict.fromkeys(row.task for row in run.record.results if row.task not in run.tasks)
    for name in names:
        rows = [row for row in run.record.results if row.task == name]
        group = groups.get(name)
        described = group.metrics if group else {}
        yield Section(
            task=one_line(name),
            title=one_line(group.title if group else "a mean of tasks"),
            mini=any(row.mini for row in rows),
            limited=any(row.limited for row in rows),
            rows=rows,
            descriptions={key: one_line(spec.description) for key, spec in described.items()},
            curves=[],
            gallery=Gallery(),
            problem="",
            details=_details(rows),
            settings=[],
            references=_references(group.references if group else ()),
            answered_by=_child(run.record) if _by_child(rows) else "",
        )


def _by_child(rows: Sequence[Result]) -> bool:
    return any(row.answered_by for row in rows)


def _child(record: RunRecord) -> str:
    """Name, beginning of the fingerprint, and the reason where it does not say itself whose child
    it is; empty without one."""
    if (child := record.vqa_model) is None:
        return ""
    because = f" ({child.because})" if child.because else ""
    return one_line(f"{child.name}, {child.fingerprint[:16]}{because}", limit=200)


def _details(rows: Sequence[Result]) -> list[tuple[str, Table]]:
    """Facts of each metric that has some."""
    return [
        (one_line(row.metric), table)
        for row in rows
        if (table := _flat({key: row.facts[key] for key in row.facts if key != _CURVE}))
    ]


def _references(references: Sequence[Reference]) -> Table:
    return [
        (one_line(f"{row.model}, {row.metric}"), f"{plain_number(row.value)} ({row.source})")
        for row in references
    ]


def _exhibits(loaded: LoadedTask) -> Iterator[tuple[Exhibit, str | None]]:
    for sample, output, score in zip(loaded.samples, loaded.outputs, loaded.scores, strict=True):
        exhibit = loaded.task.exhibit(sample, output, score)
        if exhibit is not None:
            yield exhibit, score.unscored


def _curves(rows: Sequence[Result]) -> list[Curve]:
    """Loss by time, one line a metric that has it, and what a blank picture would lose."""
    found = [(row, list(row.facts[_CURVE])) for row in rows if row.facts.get(_CURVE)]
    if not found:
        return []
    lines = [
        Series(
            name=one_line(row.metric),
            x=_column(points, "t"),
            y=_column(points, "loss"),
            low=_column(points, "low"),
            high=_column(points, "high"),
        )
        for row, points in found
    ]
    _, points = found[0]
    blank = Series(name="a blank picture", x=_column(points, "t"), y=_column(points, "blank"))
    return [
        Curve(
            title="Flow loss by time",
            x_label="t (0 noise, 1 data)",
            y_label="flow loss",
            series=[*lines, blank],
        )
    ]


def _column(points: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """A column of numbers; empty unless every point has it."""
    values = [float(point[key]) for point in points if point.get(key) is not None]
    return values if len(values) == len(points) else []


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as (name, text) rows: `hardware · gpu`."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name} · ")
        elif isinstance(value, float):
            rows.append((one_line(name), plain_number(value)))
        elif isinstance(value, int) and not isinstance(value, bool):
            rows.append((one_line(name), f"{value:,}"))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((one_line(name), visible(text, limit=VALUE_LIMIT)))
    return rows


def _moment(text: str | None) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC") if text else ""
