"""`unimm-train`: train unified models, and make checkpoints that `unimm-eval` judges."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimm_eval.cli.program import run_program
from unimm_eval.cli.train_encode import encode
from unimm_eval.cli.train_sweep import sweep
from unimm_eval.cli.train_tools import annotate_actions, caption_distance, recaption

if TYPE_CHECKING:
    from unimm_eval.train.log import StepLog

app = typer.Typer(
    name="unimm-train", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

app.command()(encode)
app.command()(sweep)
app.command("caption-distance")(caption_distance)
app.command("recaption")(recaption)
app.command("annotate-actions")(annotate_actions)

RecipeArgument = Annotated[Path, typer.Argument(help="YAML file, such as train/recipes/demo.yaml")]
OutputOption = Annotated[Path, typer.Option(help="folder to write")]


@app.command()
def pretrain(
    recipe: RecipeArgument,
    output: OutputOption,
    until: Annotated[int | None, typer.Option(min=1, help="stop after this step")] = None,
    log_every: Annotated[int, typer.Option(min=1, help="steps between printed lines")] = 20,
) -> None:
    """Train by a recipe, or go on exactly where the folder stands."""
    from unimm_eval.train.pretrain import Pretraining
    from unimm_eval.train.recipe import load_recipe

    run = Pretraining(load_recipe(recipe), output)
    for warning in run.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if run.step:
        typer.echo(f"going on from step {run.step} of {run.recipe.steps}")
    run.run(until=until, on_step=_printer(run.recipe.steps, log_every))


@app.command()
def info(
    model: Annotated[
        str, typer.Argument(help="preset such as moe-e256, config.json, or checkpoint folder")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print the parameters, FLOPs a token and memory of an architecture, without building it."""
    from unimm_eval.cli.info import show_info

    show_info(model, as_json=as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="folder of a training run")],
    output: OutputOption,
) -> None:
    """Write the newest state of a run as a checkpoint folder."""
    from unimm_eval.train.export import export_run

    typer.echo(f"{output}: step {export_run(run, output)}")


@app.command()
def twin(
    checkpoint: Annotated[Path, typer.Argument(help="folder of a checkpoint")],
    output: OutputOption,
) -> None:
    """Write the untrained twin of a checkpoint: what chance is measured on."""
    from unimm_eval.train.export import export_twin

    export_twin(checkpoint, output)
    typer.echo(f"{output}: step 0")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="weights that were saved by torch.save")],
    target: Annotated[Path, typer.Argument(help="the .safetensors file to write")],
) -> None:
    """Convert pickled weights to safetensors; a file with more in it is refused."""
    from unimm_eval.train.convert import convert_pickle

    typer.echo(f"{target}: {convert_pickle(source, target)} tensors")


@app.command()
def curve(
    run: Annotated[Path, typer.Argument(help="folder of a training run")],
    output: OutputOption,
) -> None:
    """Write the loss curve of a run: log.csv and curve.png."""
    from unimm_eval.train.curve import write_curve

    write_curve(run, output)
    typer.echo(f"{output}: log.csv, curve.png")


def _printer(steps: int, every: int) -> "Callable[[StepLog], None]":
    """Prints a line every so many steps, with tokens a second and the time left."""
    begin, first = time.monotonic(), -1
    tokens = 0

    def show(entry: "StepLog") -> None:
        nonlocal first, tokens
        if first < 0:
            first = entry.step - 1
        tokens += entry.tokens
        if entry.step % every and entry.step != steps:
            return
        elapsed = time.monotonic() - begin
        left = elapsed / (entry.step - first) * (steps - entry.step)
        typer.echo(
            f"step {entry.step}/{steps}  text {entry.text_loss:.4f}  flow {entry.flow_loss:.4f}  "
            f"grad {entry.grad_norm:.2f}  {tokens / elapsed:,.0f} tokens/s  "
            f"{left / 60:.0f} min left"
        )

    return show


def main() -> None:
    sys.exit(run_program(app))


if __name__ == "__main__":
    main()
