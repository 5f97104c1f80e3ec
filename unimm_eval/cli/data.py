"""`unimm-eval data status|fetch|verify`: the files of benchmarks."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from unimm_eval import data
from unimm_eval.api import UserError
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.engine.registry import find_tasks, task_entries
from unimm_eval.report.plain import one_line

SECONDS_BETWEEN_LINES = 5.0


def status(tasks: Sequence[str], *, data_dir: Path | None) -> None:
    """Show which files are there, with sizes; reads none of them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    folder = data.data_dir(data_dir)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Task")
    table.add_column("File", overflow="fold")
    table.add_column("Bytes", justify="right", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Pin", no_wrap=True)
    table.add_column("Licence")
    for task, file in _files(tasks):
        state = data.state_of(file, folder)
        table.add_row(
            Text(one_line(task), style="bold"),
            Text(one_line(file.name)),
            Text("?" if file.size is None else f"{file.size:,}"),
            Text(state, style="green" if state == "there" else "yellow"),
            Text(file.pin[:20]),
            Text(one_line(file.licence)),
        )
    console = console_for_tables()
    console.print(table)
    console.print(Text(f"Folder: {folder}"), soft_wrap=True)


def fetch(tasks: Sequence[str], *, data_dir: Path | None) -> None:
    """Get what is missing, checked against its pin; goes on where it was stopped."""
    folder = data.data_dir(data_dir)
    files = _distinct(_files(tasks))
    known = sum(file.size or 0 for file in files)
    typer.echo(f"{len(files)} files, {known:,} bytes or more, into {folder}", err=True)
    paths = data.fetch(files, folder, watch=_Lines())
    typer.echo(f"{len(paths)} files are there, each as it is pinned.")


def verify(tasks: Sequence[str], *, data_dir: Path | None) -> None:
    """Read every file and compare it with its pin."""
    folder = data.data_dir(data_dir)
    problems: list[UserError] = []
    chosen = _files(tasks)
    for task, file in chosen:
        try:
            data.verify(file, folder, task=task)
        except UserError as error:
            problems.append(error)
    if problems:
        whole = len(chosen) - len(problems)
        raise UserError(
            f"{len(problems)} files are missing or not the pinned ones, {whole} are as pinned:\n"
            + "\n".join(f"- {error.what}" for error in problems),
            fix=problems[0].fix,
        )
    typer.echo(f"{len(chosen)} files are there, each as it is pinned.")


def _files(tasks: Sequence[str]) -> list[tuple[str, data.DataFile]]:
    """(task, file) of the chosen tasks. Raises UserError when a name is unknown."""
    entries = task_entries()
    chosen = find_tasks(tasks, entries) if tasks else list(entries.values())
    return [(entry.card.name, file) for entry in chosen for file in data.files_of(entry.card)]


def _distinct(files: Sequence[tuple[str, data.DataFile]]) -> list[data.DataFile]:
    """Each file once; two tasks may share one."""
    return list({file.name: file for _, file in files}.values())


class _Lines:
    """A line when a file is whole, and one every few seconds between."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, file: data.DataFile, done: int, total: int | None) -> None:
        now = time.monotonic()
        whole = done == total
        if whole or now - self._last > SECONDS_BETWEEN_LINES:
            self._last = now
            part = "" if whole else f" of {total:,}" if total else ""
            sys.stderr.write(f"{one_line(file.name)}  {done:,}{part} bytes\n")
            sys.stderr.flush()
