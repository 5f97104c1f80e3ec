"""`unimm-eval publish RUN` and `unimm-eval export RUN`."""

from pathlib import Path

import typer

from unimm_eval.records.export import export
from unimm_eval.records.publish import publish
from unimm_eval.report.plain import one_line


def publish_command(run: Path, *, results: Path, name: str | None, dry_run: bool) -> None:
    """Publish, or say that it could be. Raises UserError with all that is amiss."""
    path = publish(run, results=results, name=name, dry_run=dry_run)
    typer.echo(f"{one_line(str(path))}{' could be written' if dry_run else ''}")


def export_command(run: Path, *, format: str, output: Path, organization: str) -> None:
    """Export and name every file. Raises UserError."""
    for path in export(run, output, format=format, organization=organization):
        typer.echo(one_line(str(path)))
