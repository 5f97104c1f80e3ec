"""The results of a run on a terminal."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from unimm_eval.api import Result
from unimm_eval.report.numbers import as_interval, plain_number, with_error
from unimm_eval.report.plain import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PIPE_WIDTH = 120


def console_for_tables() -> "Console":
    """Standard output; wide enough for a table where there is no terminal to fit it to."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
    return console


def results_table(results: Iterable[Result]) -> "Table":
    """One row a metric, grouped by task; what is mini or limited says so."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Metric", overflow="fold", min_width=14)
    for title in ("Value ± stderr", "95% interval", "Chance", "n", "Unscored"):
        table.add_column(title, justify="right", no_wrap=True)
    for index, (task, group) in enumerate(groupby(results, key=lambda row: row.task)):
        rows = list(group)
        if index:
            table.add_section()
        table.add_row(_task_line(task, rows), *[Text("")] * 5)
        for row in rows:
            table.add_row(*_cells(row), style="" if row.headline else "dim")
    return table


def _task_line(task: str, rows: Sequence[Result]) -> "Text":
    from rich.text import Text

    line = Text(one_line(task), style="bold cyan")
    if rows[0].mini and "mini" not in task:
        line.append(" (mini)", style="not bold")
    if rows[0].limited:
        line.append(" (limited)", style="not bold yellow")
    return line


def _cells(row: Result) -> "list[Text]":
    from rich.text import Text

    arrow = "↓" if row.direction == "lower" else "↑"
    return [
        Text(f"  {one_line(row.metric)} {arrow}"),
        Text(with_error(row.value, row.stderr), style="bold" if row.headline else ""),
        Text(as_interval(row.interval, value=row.value, stderr=row.stderr)),
        Text("" if row.chance is None else plain_number(row.chance)),
        Text(f"{row.n:,}"),
        Text(f"{row.unscored:,}" if row.unscored else "", style="yellow"),
    ]
