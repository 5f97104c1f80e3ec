"""`unimm-train encode`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from unimm_eval.api import UserError


def encode(
    recipe: Annotated[Path, typer.Argument(help="YAML file whose sources are encoded")],
    output: Annotated[Path, typer.Option(help="folder of latents, for `latents` in recipes")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    part: Annotated[
        str, typer.Option(help="I/N: the I-th of N processes that share the work, from 0 on")
    ] = "0/1",
) -> None:
    """Encode all pictures of a recipe's sources once, or go on where that was stopped."""
    import torch

    from unimm_eval.train.data.encode import Encoding, encode_sources
    from unimm_eval.train.recipe import load_recipe

    if (found := re.fullmatch(r"(\d+)/(\d+)", part)) is None:
        raise UserError(f"--part {part}: it is two numbers, such as 0/8")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    job = Encoding(
        recipe=load_recipe(recipe).with_weights(),
        output=output,
        device=torch.device(device),
        part=int(found[1]),
        parts=int(found[2]),
    )
    count = encode_sources(job, watch=typer.echo)
    typer.echo(f"{output}: {count:,} pictures encoded")
