"""`unimm-eval compare A B`: two runs side by side."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unimm_eval.api import UserError
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.engine.compare import Agreement, Comparison, Flip, compare_runs
from unimm_eval.report.numbers import as_interval, with_error
from unimm_eval.report.plain import one_line
from unimm_eval.stats import Estimate

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_FLIPS = 20
SAID_LIMIT = 100
TOO_SMALL = 1e-5


def compare_command(a: Path, b: Path, *, as_json: bool) -> None:
    """Print how two runs differ. Raises UserError when some task cannot be compared, after showing
    what can."""
    comparison = compare_runs(a, b)
    if as_json:
        typer.echo(json.dumps(asdict(comparison), indent=2))
    elif comparison.tasks:
        _show(comparison)
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
        text = one_line(f"{run.folder}  {run.model}  {run.fingerprint[:16]}")
        console.print(Text.assemble((f"{name}  ", "bold"), text), soft_wrap=True)
    for line in comparison.setup:
        console.print(Text(f"   {one_line(line)}", style="dim"), soft_wrap=True)
    console.print(_score_table(comparison))
    console.print(_output_table(comparison))
    for line in _remarks(comparison):
        console.print(Text(one_line(line)), soft_wrap=True)
    flips = [(task.task, flip) for task in comparison.tasks for flip in task.flips]
    console.print(Text(f"{len(flips):,} verdicts flipped", style="bold" if flips else ""))
    for task, flip in flips[:SHOWN_FLIPS]:
        console.print(Text(_flip_line(task, flip)), soft_wrap=True)
    if len(flips) > SHOWN_FLIPS:
        left = len(flips) - SHOWN_FLIPS
        console.print(Text(f"  … and {left:,} more: --json lists all of them", style="dim"))


def _score_table(comparison: Comparison) -> "Table":
    """One row a score value; every difference is B − A over the same samples."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Score", overflow="fold", min_width=14)
    for title in ("A", "B", "B − A ± stderr", "95% interval", "n", "Flipped"):
        table.add_column(title, justify="right", no_wrap=True)
    for index, task in enumerate(comparison.tasks):
        if index:
            table.add_section()
        table.add_row(Text(one_line(task.task), style="bold cyan"), *[Text("")] * 6)
        for row in task.scores:
            change = row.difference
            flips = sum(flip.score == row.name for flip in task.flips)
            table.add_row(
                Text(f"  {one_line(row.name)}"),
                Text(with_error(row.a, None)),
                Text(with_error(row.b, None)),
                Text(_change(change), style="bold"),
                Text(_interval(change)),
                Text(f"{change.n:,}"),
                Text(f"{flips:,}" if flips else "", style="yellow"),
            )
    return table


def _change(change: Estimate) -> str:
    if _is_rounding(change):
        return f"{change.value:.1e} ± {change.stderr or 0:.1e}"
    return with_error(change.value, change.stderr)


def _interval(change: Estimate) -> str:
    if _is_rounding(change) and change.interval is not None:
        return f"{change.interval[0]:.1e} to {change.interval[1]:.1e}"
    return as_interval(change.interval, value=change.value, stderr=change.stderr)


def _is_rounding(change: Estimate) -> bool:
    """Whether a difference is there but too small for six decimals."""
    return 0 < max(abs(change.value), change.stderr or 0) < TOO_SMALL


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
        "Errors are of paired samples, clustered. Intervals are 95% each, not corrected for how "
        "many there are; no p-values are given."
    )


def _flip_line(task: str, flip: Flip) -> str:
    said = [one_line(text, limit=SAID_LIMIT) for text in (flip.said_a, flip.said_b)]
    where = "  ".join(filter(None, [task, flip.group, f"{flip.sample}/{flip.repeat}"]))
    return f"  {one_line(where)}  {flip.score} {flip.a:g} → {flip.b:g}  A: {said[0]}  B: {said[1]}"
