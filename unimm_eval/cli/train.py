"""`unimm-train`: train unified models, and make checkpoints that `unimm-eval` judges."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from unimm_eval.cli.program import run_program
from unimm_eval.cli.train_encode import encode
from unimm_eval.cli.train_finetune import finetune, world_conversations
from unimm_eval.cli.train_pretrain import OutputOption, pretrain
from unimm_eval.cli.train_sweep import sweep
from unimm_eval.cli.train_tools import annotate_actions, caption_distance, recaption

app = typer.Typer(
    name="unimm-train", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)

app.command()(pretrain)
app.command()(finetune)
app.command("world-conversations")(world_conversations)
app.command()(encode)
app.command()(sweep)
app.command("caption-distance")(caption_distance)
app.command("recaption")(recaption)
app.command("annotate-actions")(annotate_actions)


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
    ema: Annotated[bool, typer.Option("--ema", help="the moving average of the weights")] = False,
) -> None:
    """Write the newest state of a run as a checkpoint folder."""
    from unimm_eval.train.export import export_run

    typer.echo(f"{output}: step {export_run(run, output, ema=ema)}")


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


def main() -> None:
    sys.exit(run_program(app))


if __name__ == "__main__":
    main()
