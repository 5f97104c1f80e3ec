"""`unimm-eval leaderboard build` and `serve`."""

import tempfile
from pathlib import Path

import typer

from unimm_eval.api import EXIT_INCOMPLETE, EXIT_OK
from unimm_eval.leaderboard import build_site
from unimm_eval.leaderboard.site import Built
from unimm_eval.report.plain import one_line


def build_command(results: Path, output: Path) -> int:
    """Build the site and say what is in it. The exit code is 3 where something was left out."""
    return _told(build_site(results, output))


def serve_command(results: Path, output: Path | None, *, port: int) -> None:
    """Build the site, where no `output` is given into a temporary folder, and show it."""
    from unimm_eval.leaderboard.serve import serve

    with tempfile.TemporaryDirectory(prefix="unimm-eval-leaderboard-") as scratch:
        built = build_site(results, output or Path(scratch) / "site")
        _told(built)
        serve(built.folder, port=port, ready=lambda url: typer.echo(f"{url}  (stop with Ctrl-C)"))


def _told(built: Built) -> int:
    typer.echo(
        f"{one_line(str(built.folder / 'index.html'))}: {built.models:,} models, "
        f"{built.numbers:,} numbers, {built.pages:,} pages"
    )
    for item in built.left_out:
        typer.echo(f"left out: {item.name}: {item.reason}", err=True)
    return EXIT_INCOMPLETE if built.left_out else EXIT_OK
