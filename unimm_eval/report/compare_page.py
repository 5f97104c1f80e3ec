"""Two runs as one self-contained page: differences with their intervals, and the samples that
changed most, A beside B, with pictures.

As on the page of a run, nothing is fetched, no script runs, and every string is escaped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import Exhibit
from unimm_eval.engine.changes import MetricChange
from unimm_eval.engine.compare import Comparison, TaskComparison
from unimm_eval.engine.files import write_atomic
from unimm_eval.engine.load import LoadedRun
from unimm_eval.engine.moved import Moved, exhibit_of
from unimm_eval.engine.pairs import Side, pair
from unimm_eval.report.charts import change_chart
from unimm_eval.report.numbers import as_change, as_p_value, as_range, plain_number, with_error
from unimm_eval.report.page import asset, csp_hash, environment
from unimm_eval.report.pictures import Embedded, embed
from unimm_eval.report.plain import one_line, visible

PICTURE_BYTES = 4_000_000
"""Pictures on the whole page, encoded; the tasks share them equally."""
TEXT_LIMIT = 1200
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One sample on the page; all text is already safe to look at, though not yet escaped.

    `both` are pictures that are the same in A and B (what was asked about).
    """

    group: str
    prompt: str
    expected: str
    score: str
    change: str
    better: bool
    said_a: str
    said_b: str
    both: tuple[Embedded, ...]
    of_a: tuple[Embedded, ...]
    of_b: tuple[Embedded, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One task on the page."""

    comparison: TaskComparison
    entries: tuple[Entry, ...]


def write_comparison(path: Path, comparison: Comparison, a: LoadedRun, b: LoadedRun) -> None:
    """Write the page of a comparison of the runs `a` and `b`. Raises UserError when it cannot be
    written."""
    write_atomic(path, render_comparison(comparison, a, b).encode("utf-8"))


def render_comparison(comparison: Comparison, a: LoadedRun, b: LoadedRun) -> str:
    """The page. Equal runs give equal pages."""
    style = asset("page.css") + asset("compare.css")
    budget = PICTURE_BYTES // max(1, len(comparison.tasks))
    sections = [
        Section(comparison=task, entries=tuple(_entries(task, a, b, max_bytes=budget)))
        for task in comparison.tasks
    ]
    made = environment().overlay()
    made.filters = {
        **made.filters,
        "as_p_value": as_p_value,
        "change_chart": _chart,
        "change": lambda row: as_change(row.change.value, row.change.stderr),
        "interval": lambda row: as_range(
            row.change.interval, value=row.change.value, stderr=row.change.spread
        ),
        "number": lambda value: with_error(value, None),
        "one_line": one_line,
        "verdict": _verdict,
    }
    page: str = made.get_template("compare.html").render(
        comparison=comparison, sections=sections, style=style, style_hash=csp_hash(style)
    )
    return page


def _chart(row: MetricChange, rows: tuple[MetricChange, ...]) -> str:
    """On the scale of the widest interval of the task's metrics of the same unit and range."""
    ends = [
        abs(end)
        for other in rows
        if other.unit == row.unit and other.change.interval is not None
        for end in other.change.interval
    ]
    return change_chart(row.change.value, row.change.interval, reach=max(ends, default=0.0))


def _verdict(row: MetricChange) -> str:
    """Class of a headline that is different by Holm's p-value."""
    if row.p_holm is None or row.p_holm >= ALPHA:
        return ""
    return "better" if row.gain * row.change.value > 0 else "worse"


def _entries(
    task: TaskComparison, a: LoadedRun, b: LoadedRun, *, max_bytes: int
) -> Iterator[Entry]:
    if task.samples is None:
        return
    pairs = {
        (first.output.sample_id, first.output.repeat): (first, second)
        for first, second in pair(a.tasks[task.task], b.tasks[task.task]).pairs
    }
    spent = 0
    for moved in task.samples.most:
        entry = _entry(moved, *pairs[moved.sample, moved.repeat])
        spent += sum(picture.size for picture in (*entry.both, *entry.of_a, *entry.of_b))
        if spent > max_bytes:
            return
        yield entry


def _entry(moved: Moved, a: Side, b: Side) -> Entry:
    exhibit = exhibit_of(a)
    shown_a, shown_b = _pictures(exhibit), _pictures(exhibit_of(b))
    same = [name for name in shown_a if name in shown_b and shown_a[name] == shown_b[name]]
    return Entry(
        group=visible(moved.group),
        prompt=visible(moved.prompt, limit=TEXT_LIMIT),
        expected=visible(exhibit.expected if exhibit else "", limit=TEXT_LIMIT),
        score=one_line(moved.score),
        change=f"{plain_number(moved.a)} → {plain_number(moved.b)}",
        better=moved.better,
        said_a=visible(moved.said_a, limit=TEXT_LIMIT),
        said_b=visible(moved.said_b, limit=TEXT_LIMIT),
        both=tuple(shown_a[name] for name in same),
        of_a=tuple(shown for name, shown in shown_a.items() if name not in same),
        of_b=tuple(shown for name, shown in shown_b.items() if name not in same),
    )


def _pictures(exhibit: Exhibit | None) -> Mapping[str, Embedded]:
    shown = {} if exhibit is None else exhibit.shown
    return {name: embed(name, picture) for name, picture in shown.items()}
