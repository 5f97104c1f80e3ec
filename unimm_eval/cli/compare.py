"""`unimm-eval compare A B`: two runs side by side."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unimm_eval.api import UserError
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.engine.changes import MetricChange
from unimm_eval.engine.compare import Agreement, Comparison, TaskComparison, compare_loaded
from unimm_eval.engine.moved import Moved
from unimm_eval.engine.published import load_side
from unimm_eval.report.compare_page import write_comparison
from unimm_eval.report.numbers import as_change, as_p_value, as_range, with_error
from unimm_eval.report.plain import one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

SHOWN = 8
"""So many samples of a task are listed."""
SAID_LIMIT = 100
ALPHA = 0.05


def compare_command(a: Path, b: Path, *, as_json: bool, html: Path | None) -> None:
    """Print how two runs differ. Raises UserError when some task cannot be compared, after showing
    what can."""
    first, second = load_side(a), load_side(b)
    comparison = compare_loaded(first, second)
    if as_json:
        typer.echo(json.dumps(asdict(comparison), indent=2))
    elif comparison.tasks:
        _show(comparison)
    if html is not None:
        write_comparison(html, comparison, first, second)
        typer.echo(f"page    {html}", err=as_json)
    if comparison.refused:
        raise UserError(
            "\n".join(
                f"{entry.task} is not compared, since its protocols differ: "
                f"{'; '.join(entry.fields)}."
                for entry in comparison.refused
            ),
            fix="Run it with one protocol for both.",
        )
    if not comparison.tasks:
        raise UserError(
            f"{a} and {b} have no task in common.", fix="Compare runs of the same tasks."
        )


def _show(comparison: Comparison) -> None:
    from rich.text import Text

    console = console_for_tables()
    for name, run in (("A", comparison.a), ("B", comparison.b)):
        model = one_line(run.model, limit=SAID_LIMIT)
        text = f"{one_line(run.folder)}  {model}  {one_line(run.fingerprint[:16])}"
        if run.vqa_model:
            child = one_line(run.vqa_model, limit=SAID_LIMIT)
            text += f", about pictures {child}  {one_line(run.vqa_fingerprint[:16])}"
        console.print(Text.assemble((f"{name}  ", "bold"), text), soft_wrap=True)
    for line in comparison.setup:
        console.print(Text(f"   {one_line(line)}", style="dim"), soft_wrap=True)
    console.print(_metric_table(comparison))
    if any(task.outputs for task in comparison.tasks):
        console.print(_output_table(comparison))
    for line in _remarks(comparison):
        console.print(Text(one_line(line)), soft_wrap=True)
    for task in comparison.tasks:
        for line_of_samples in _moved_lines(task):
            console.print(line_of_samples, soft_wrap=True)


def _metric_table(comparison: Comparison) -> "Table":
    """One row a metric; every difference is B − A over the same samples."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Metric", overflow="fold", min_width=14)
    for title in ("A", "B", "B − A ± stderr", "95% interval", "p, Holm's", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    for index, task in enumerate(comparison.tasks):
        if index:
            table.add_section()
        table.add_row(Text(one_line(task.task), style="bold cyan"), *[Text("")] * 6)
        for row in task.metrics:
            table.add_row(*_cells(row), style="" if row.headline else "dim")
    return table


def _cells(row: MetricChange) -> "list[Text]":
    from rich.text import Text

    change = row.change
    arrow = "↓" if row.direction == "lower" else "↑"
    style = "bold" if row.headline else ""
    if row.p_holm is not None and row.p_holm < ALPHA:
        style = "bold green" if row.gain * change.value > 0 else "bold red"
    return [
        Text(f"  {one_line(row.metric)} {arrow}"),
        Text(with_error(row.a, None)),
        Text(with_error(row.b, None)),
        Text(as_change(change.value, change.stderr), style=style),
        Text(as_range(change.interval, value=change.value, stderr=change.spread)),
        Text(as_p_value(row.p_holm)),
        Text(f"{row.n:,}" + ("" if change.paired else " unpaired")),
    ]


def _output_table(comparison: Comparison) -> "Table":
    """One row an output value: how many pairs are the same, and how far the others are apart."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Output", overflow="fold", min_width=14)
    for title in ("n", "Equal", "Largest difference", "Relative"):
        table.add_column(title, justify="right", no_wrap=True)
    for task in comparison.tasks:
        for row in task.outputs:
            table.add_row(
                Text(f"{one_line(task.task)}  {one_line(row.name)}"),
                Text(f"{row.n:,}"),
                Text(_share(row)),
                Text(_apart(row)),
                Text("" if row.relative is None else f"{row.relative:.1e}"),
            )
    return table


def _share(row: Agreement) -> str:
    return "all" if row.equal == row.n else f"{row.equal:,} ({row.equal / row.n:.1%})"


def _apart(row: Agreement) -> str:
    if row.largest is None:
        return ""
    return f"{row.largest:.0f} of 255" if row.kind == "picture" else f"{row.largest:.1e}"


def _remarks(comparison: Comparison) -> Iterator[str]:
    """What the tables leave out."""
    for name, tasks in (("A", comparison.only_in_a), ("B", comparison.only_in_b)):
        if tasks:
            yield f"Only in {name}: {', '.join(tasks)}"
    for task in comparison.tasks:
        for name, count in (("A", task.only_in_a), ("B", task.only_in_b)):
            if count:
                yield f"{task.task}: {count:,} outputs only in {name}, not compared"
        if task.unscored:
            yield f"{task.task}: {task.unscored:,} outputs without a score in A or B, left out"
    yield (
        "Errors are of paired samples, clustered. Intervals are 95% each. p-values are of "
        "headlines, adjusted by Holm's method for how many tasks there are."
    )


def _moved_lines(task: TaskComparison) -> "Iterator[Text]":
    """How many samples changed, and those that changed most."""
    from rich.text import Text

    samples = task.samples
    if samples is None:
        return
    yield Text(
        one_line(
            f"{task.task}: {samples.better:,} samples better in B, {samples.worse:,} worse, "
            f"{samples.same:,} the same, by {samples.score}; {len(task.flips):,} verdicts flipped"
        ),
        style="bold" if samples.most else "",
    )
    for moved in samples.most[:SHOWN]:
        yield Text(_moved_line(moved))
    left = samples.better + samples.worse - SHOWN
    if left > 0:
        yield Text(f"  … and {left:,} more: --html FILE shows them, --json lists flips", "dim")


def _moved_line(moved: Moved) -> str:
    a, b = (one_line(text, limit=SAID_LIMIT) for text in (moved.said_a, moved.said_b))
    where = "  ".join(filter(None, [moved.group, f"{moved.sample}/{moved.repeat}"]))
    change = f"{moved.score} {moved.a:.4g} → {moved.b:.4g}"
    prompt = one_line(moved.prompt, limit=SAID_LIMIT)
    return f"  {one_line(where)}  {one_line(change)}  {prompt}  A: {a}  B: {b}"
