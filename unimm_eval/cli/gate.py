"""`unimm-eval gate RUN --baseline RECORD`: decide, show, write."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api import record_folder
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.gate import Outcome, read_margins, run_gate, write_outcome
from unimm_eval.gate.written import FILES, NAME_LIMIT, cells, rule_in_words
from unimm_eval.report.plain import one_line

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {"pass": "bold green", "fail": "bold red"}
FOLDER = "gate"


def gate_command(
    run: Path,
    *,
    baseline: Path,
    margins: Sequence[str],
    margins_file: Path | None,
    tasks: Sequence[str],
    output: Path | None,
) -> int:
    """Decide, and return the exit code. Raises UserError when there is nothing to decide."""
    outcome = run_gate(run, baseline, margins=read_margins(margins, file=margins_file), names=tasks)
    folder = output or record_folder(run) / FOLDER
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    write_outcome(outcome, folder, step_summary=Path(summary) if summary else None)
    _show(outcome, folder)
    return outcome.exit_code


def _show(outcome: Outcome, folder: Path) -> None:
    from rich.text import Text

    console = console_for_tables()
    for name, side in (("run", outcome.run), ("baseline", outcome.baseline)):
        text = f"{side.path}  {one_line(side.model, limit=NAME_LIMIT)}  {side.fingerprint[:16]}"
        console.print(Text.assemble((f"{name:<10}", "dim"), one_line(text)), soft_wrap=True)
    for line in outcome.setup:
        console.print(Text(f"          {one_line(line)}", style="dim"), soft_wrap=True)
    console.print(_table(outcome))
    for task in outcome.tasks:
        reason = f"{one_line(task.task, limit=NAME_LIMIT)}: {task.ruling.reason}"
        if task.ruling.verdict != "pass" or task.ruling.reason != "no worse":
            console.print(Text(reason), soft_wrap=True)
    if outcome.not_gated:
        names = one_line(", ".join(outcome.not_gated))
        console.print(Text(f"Not gated: {names}"), soft_wrap=True)
    console.print(Text(rule_in_words(len(outcome.tasks)), style="dim"), soft_wrap=True)
    console.print(Text.assemble(("written   ", "dim"), f"{folder}: {', '.join(FILES)}"))
    style = STYLES.get(outcome.verdict, "bold yellow")
    console.print(Text.assemble(("verdict   ", "dim"), (outcome.verdict.upper(), style)))


def _table(outcome: Outcome) -> "Table":
    """One row a task; changes are written so that more is better."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="dim")
    table.add_column("Task", overflow="fold", min_width=12)
    table.add_column("Verdict", no_wrap=True)  # where a narrow terminal does not cut it off
    table.add_column("Metric", overflow="fold", min_width=12)
    for title in ("Baseline", "Run", "Better by", "At least", "Margin", "Smallest", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    for task in outcome.tasks:
        ruling = task.ruling
        name = one_line(task.task, limit=NAME_LIMIT) + (" (limited)" if task.limited else "")
        table.add_row(
            Text(name),
            Text(ruling.verdict.upper(), style=STYLES.get(ruling.verdict, "bold yellow")),
            *(Text(cell) for cell in cells(task)),
        )
    return table
