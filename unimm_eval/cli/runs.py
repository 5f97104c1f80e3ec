"""The bare command: run, watch, show the table, write the report."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from unimm_eval.api import RunRecord, UserError
from unimm_eval.cli.options import RunOptions, cluster_of, read_options
from unimm_eval.cli.progress import watch
from unimm_eval.cli.tables import console_for_tables, results_table
from unimm_eval.engine.evaluate import TaskEstimate, dry_run, evaluate
from unimm_eval.engine.rejudge import rejudge
from unimm_eval.engine.settings import parse_assignments
from unimm_eval.report import build_report
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.plain import one_line


def run_command(given: Mapping[str, Any], *, config: Path | None) -> None:
    """Run as the options say. Raises UserError, IncompleteError or DefectError."""
    options = read_options(given, config=config)
    model = _required(options)
    shared: dict[str, Any] = {
        "limit": options.limit,
        "device": options.device,
        "batch_size": options.batch_size,
        "output": options.output,
        "settings": options.set,
        "data_dir": options.data_dir,
        "vqa_model": options.vqa_model,
        "vqa_because": options.vqa_because,
    }
    if options.dry_run:
        left_out: list[str] = []
        _show_estimates(dry_run(model, options.tasks, note=left_out.append, **shared))
        for reason in left_out:
            typer.echo(one_line(reason), err=True)
        return
    with watch(sys.stderr) as progress:
        record = evaluate(
            model,
            options.tasks,
            seed=options.seed,
            dtype=options.dtype,
            cluster=cluster_of(options),
            progress=progress,
            **shared,
        )
    _show_record(record)


def judge_command(
    run: Path,
    *,
    judge: str | None,
    assignments: Sequence[str],
    output: Path | None,
    data_dir: Path | None,
) -> None:
    """Judge again. Raises UserError, IncompleteError or DefectError."""
    with watch(sys.stderr) as progress:
        record = rejudge(
            run,
            judge=judge,
            settings=parse_assignments(assignments),
            output=output,
            data_dir=data_dir,
            progress=progress,
        )
    _show_record(record)


def _required(options: RunOptions) -> str:
    missing = []
    if not options.model:
        missing.append(("--model", "unimm-eval models lists what can be given; try --model demo."))
    if not options.tasks:
        missing.append(("--tasks", "unimm-eval tasks lists all of them; try --tasks mini."))
    if missing:
        raise UserError(
            f"{' and '.join(name for name, _ in missing)} must be given.",
            fix="\n".join(fix for _, fix in missing),
        )
    assert options.model is not None
    return options.model


def _show_record(record: RunRecord) -> None:
    from rich.text import Text

    folder = Path(record.volatile["folder"])
    console = console_for_tables()
    console.print(results_table(record.results))
    report = build_report(folder)
    for name, what in (
        *(("judge", told) for told in _judges(record)),
        ("model", f"{record.model.name}  {record.model.fingerprint[:16]}"),
        *(("child", told) for told in _child(record)),
        ("time", f"{record.volatile['seconds']:.0f} s"),
        ("folder", str(folder)),
        ("report", str(report)),
    ):
        console.print(Text.assemble((f"{name:<8}", "dim"), one_line(what)), soft_wrap=True)


def _child(record: RunRecord) -> Iterator[str]:
    """Who answered for the model, and which tasks."""
    if (child := record.vqa_model) is not None:
        tasks = dict.fromkeys(row.task for row in record.results if row.answered_by)
        yield f"{child.name}  {child.fingerprint[:16]}  answered {', '.join(tasks)}"


def _judges(record: RunRecord) -> Iterator[str]:
    """Who judged each task, and what was paid for it."""
    for row in record.results:
        facts = row.facts
        if row.headline and "judge" in facts:
            told = f"{row.task}: {facts['judge']}"
            if "judge_calls" in facts:
                tokens = facts["tokens_in"] + facts["tokens_out"]
                told += f", {facts['judge_calls']:,} answers, {tokens:,} tokens"
            yield told + (f", ${plain_number(facts['cost_usd'])}" if "cost_usd" in facts else "")


def _show_estimates(estimates: Sequence[TaskEstimate]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("Task")
    asked = {entry.model for entry in estimates}
    if len(asked) > 1:
        table.add_column("Model")
    for title in ("Samples", "Outputs", "Batch size", "Model calls", "Judge calls"):
        table.add_column(title, justify="right")
    priced = any(entry.cost_usd is not None for entry in estimates)
    if priced:
        table.add_column("Judge cost", justify="right")
    for entry in estimates:
        cost = "" if entry.cost_usd is None else f"${entry.cost_usd:,.2f}"
        numbers = (
            entry.samples,
            entry.outputs,
            entry.batch_size,
            entry.batches,
            entry.questions,
        )
        names = [entry.task, entry.model] if len(asked) > 1 else [entry.task]
        table.add_row(
            *(Text(one_line(name)) for name in names),
            *(f"{number:,}" for number in numbers),
            *([cost] if priced else []),
        )
    total = sum(entry.outputs for entry in estimates)
    console = console_for_tables()
    console.print(table)
    console.print(Text(f"{total:,} outputs in all. Nothing was loaded or written."))
