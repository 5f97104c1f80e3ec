"""`unimm-train caption-distance`, `recaption` and `annotate-actions`: tools for training data."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unimm_eval.api import UserError
from unimm_eval.cli.tables import console_for_tables
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.report.plain import one_line

if TYPE_CHECKING:
    from unimm_eval.train.tools.asking import Watch
    from unimm_eval.train.tools.distance import Distance
    from unimm_eval.train.tools.results import Done

_SECONDS_BETWEEN_LINES = 10.0

Output = Annotated[Path, typer.Option(help="folder of results; the same command goes on in it")]
Model = Annotated[
    str, typer.Option(help="openai:MODEL@URL, such as openai:Qwen2.5-VL-32B-Instruct@http://…/v1")
]
Prompt = Annotated[Path | None, typer.Option(help="file with another instruction")]
Temperature = Annotated[float, typer.Option(help="0 for the likeliest words")]
TopP = Annotated[float, typer.Option(help="nucleus that words are drawn from")]
MaxNewTokens = Annotated[int, typer.Option(help="longest answer")]
Seed = Annotated[int, typer.Option(min=0, help="seed of everything drawn")]
Concurrency = Annotated[int, typer.Option(min=1, help="requests at once")]
PerMinute = Annotated[float | None, typer.Option(min=0.001, help="limit of the server")]
Options = Annotated[str, typer.Option(help="JSON object that is sent with every request")]
MaxSkipped = Annotated[float, typer.Option(help="share of rows that may be unusable")]


def caption_distance(
    reference: Annotated[str, typer.Argument(help="corpus to measure from: [NAME=]PATH")],
    corpora: Annotated[list[str], typer.Argument(help="corpora to measure: [NAME=]PATH …")],
    output: Output,
    embedder: Annotated[
        str, typer.Option(help="folder of an embedding model, or openai:MODEL@URL")
    ],
    samples: Annotated[int, typer.Option(help="texts drawn from each corpus")] = 100_000,
    characters: Annotated[int, typer.Option(help="longer texts are cut here")] = 2_000,
    batch_size: Annotated[int, typer.Option(help="texts embedded at once")] = 64,
    device: Annotated[str, typer.Option(help="of a local model: cpu, cuda or auto")] = "auto",
    seed: Seed = 0,
    concurrency: Concurrency = 8,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: PerMinute = None,
    options: Options = "{}",
    max_skipped: MaxSkipped = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print how far corpora are from a reference, as cosine distance of text embeddings."""
    from unimm_eval.train.tools.distance import RESULT, Distances, check, distances
    from unimm_eval.train.tools.embedding import open_embedder

    named = [_named(text) for text in corpora]
    if twice := sorted({name for name, _ in named if [n for n, _ in named].count(name) > 1}):
        raise UserError(f"Two corpora are called {twice[0]!r}.", fix="Name them: NAME=PATH.")
    job = Distances(
        reference=_named(reference),
        corpora=dict(named),
        output=output,
        samples=samples,
        characters=characters,
        seed=seed,
        batch_size=batch_size,
        max_skipped=max_skipped,
    )
    check(job)
    limits = _limits(concurrency, requests_per_minute, tokens_per_minute, options)
    found = distances(job, open_embedder(embedder, limits=limits, device=device), watch=_lines())
    if as_json:
        typer.echo((output / RESULT).read_text(encoding="utf-8"), nl=False)
    else:
        _show(found)
        typer.echo(f"{output / RESULT}")


def recaption(
    source: Annotated[Path, typer.Argument(help="JSONL file, or folder of pictures")],
    output: Output,
    model: Model,
    prompt: Prompt = None,
    temperature: Temperature = 0.6,
    top_p: TopP = 0.95,
    max_new_tokens: MaxNewTokens = 128,
    seed: Seed = 0,
    concurrency: Concurrency = 8,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: PerMinute = None,
    options: Options = "{}",
    max_skipped: MaxSkipped = 0.01,
) -> None:
    """Write new captions of pictures by a vision-language model behind a server."""
    from unimm_eval.train.tools.asking import Sampling, Server
    from unimm_eval.train.tools.prompts import RECAPTION
    from unimm_eval.train.tools.recaption import Recaption
    from unimm_eval.train.tools.recaption import recaption as run

    limits = _limits(concurrency, requests_per_minute, tokens_per_minute, options)
    job = Recaption(
        source=source,
        output=output,
        server=Server(spec=model, limits=limits),
        prompt=_prompt(prompt, RECAPTION),
        sampling=Sampling(
            temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        ),
        max_skipped=max_skipped,
    )
    _say(output, run(job, watch=_lines()))


def annotate_actions(
    source: Annotated[Path, typer.Argument(help="JSONL file, or folder of frames")],
    output: Output,
    model: Model,
    frames: Annotated[
        int, typer.Option(min=1, max=4, help="frames before and after, in a folder")
    ] = 1,
    prompt: Prompt = None,
    temperature: Temperature = 0.6,
    top_p: TopP = 0.95,
    max_new_tokens: MaxNewTokens = 128,
    seed: Seed = 0,
    concurrency: Concurrency = 8,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: PerMinute = None,
    options: Options = "{}",
    max_skipped: MaxSkipped = 0.01,
) -> None:
    """Write what physically happens between frames, said and checked by a model behind a server."""
    from unimm_eval.train.tools.actions import Annotate, annotate
    from unimm_eval.train.tools.asking import Sampling, Server
    from unimm_eval.train.tools.prompts import ACTION

    limits = _limits(concurrency, requests_per_minute, tokens_per_minute, options)
    job = Annotate(
        source=source,
        output=output,
        server=Server(spec=model, limits=limits),
        prompt=_prompt(prompt, ACTION),
        frames=frames,
        sampling=Sampling(
            temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        ),
        max_skipped=max_skipped,
    )
    _say(output, annotate(job, watch=_lines()))


def _named(text: str) -> tuple[str, Path]:
    """(name, path) of `NAME=PATH`, or of a path, which is called after its file."""
    name, equals, path = text.partition("=")
    if equals and name and path and not Path(text).exists():
        return name, Path(path)
    return Path(text).stem or text, Path(text)


def _limits(
    concurrency: int, requests: float | None, tokens: float | None, options: str
) -> JudgeSettings:
    try:
        sent: Any = json.loads(options)
    except json.JSONDecodeError as error:
        raise UserError(f"options is not JSON: {error}.", fix="--options '{}'") from error
    if not isinstance(sent, dict):
        raise UserError("options is no JSON object.", fix="--options '{}'")
    return JudgeSettings(
        concurrency=concurrency,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        options=sent,
    )


def _prompt(file: Path | None, default: str) -> str:
    from unimm_eval.data.files import read_text

    return default if file is None else read_text(file).strip()


def _lines() -> "Watch":
    """A line on stderr every few seconds."""
    last = time.monotonic()

    def watch(doing: str, done: int, total: int, skipped: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            left_out = f", {skipped:,} skipped" if skipped else ""
            typer.echo(f"{one_line(doing)}: {done:,} of {total:,}{left_out}", err=True)

    return watch


def _say(output: Path, done: "Done") -> None:
    for name, lines in done.files.items():
        typer.echo(f"{output / name}: {lines:,} rows")
    if done.skipped.reasons:
        typer.echo(f"skipped {len(done.skipped.reasons):,} rows:\n{done.skipped.first()}", err=True)


def _show(found: "list[Distance]") -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, title in enumerate(
        (f"Distance to {found[0].reference}", "Cosine", "95% interval", "n", "Skipped")
    ):
        table.add_column(one_line(title), justify="right" if index else "left")
    for row in found:
        table.add_row(
            one_line(row.corpus),
            f"{row.distance:.4f}",
            f"{row.interval[0]:.4f} – {row.interval[1]:.4f}",
            f"{row.n:,}",
            f"{row.skipped:,}" if row.skipped else "",
        )
    console_for_tables().print(table)
