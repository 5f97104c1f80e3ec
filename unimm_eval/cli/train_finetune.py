"""`unimm-train finetune` and `world-conversations`: checkpoints that answer about pictures."""

from pathlib import Path
from typing import Annotated

import typer

from unimm_eval.api import UserError
from unimm_eval.cli.train_pretrain import OutputOption, train


def finetune(
    recipe: Annotated[Path, typer.Argument(help="YAML file, such as train/recipes/vqa.yaml")],
    output: OutputOption,
    parent: Annotated[
        str | None, typer.Option(help="checkpoint to begin from, where the recipe names none")
    ] = None,
    until: Annotated[int | None, typer.Option(min=1, help="stop after this step")] = None,
    log_every: Annotated[int, typer.Option(min=1, help="steps between printed lines")] = 20,
    workers: Annotated[int, typer.Option(min=0, help="processes that make batches")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    fsdp: Annotated[bool, typer.Option("--fsdp", help="shard weights over all ranks")] = False,
    expert_parallel: Annotated[
        int, typer.Option(min=1, help="ranks that share out the experts")
    ] = 1,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="compute blocks again in the backward")
    ] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile each block")] = False,
    evaluate: Annotated[
        str | None, typer.Option(help="tasks to judge on, such as vqa16:mini")
    ] = None,
    evaluate_every: Annotated[int, typer.Option(min=1, help="steps between evaluations")] = 1000,
) -> None:
    """Finetune a checkpoint for questions about pictures, or go on where the folder stands."""
    from unimm_eval.train.finetune import finetuning

    found = finetuning(recipe, output, parent=parent)
    typer.echo(
        f"{found.steps:,} steps of {found.rows * found.length:,} tokens, "
        f"learning rate {found.optimizer.learning_rate:g}, trained: {found.trained}"
    )
    train(
        found,
        output,
        until=until,
        log_every=log_every,
        workers=workers,
        device=device,
        fsdp=fsdp,
        expert_parallel=expert_parallel,
        recompute=recompute,
        compile_=compile_,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
    )


def world_conversations(
    output: OutputOption,
    conversations: Annotated[int, typer.Option(min=1, help="pictures with questions")] = 20_000,
    turns: Annotated[int, typer.Option(min=1, help="most questions about a picture")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="seed of everything drawn")] = 0,
    family: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=WEIGHT", help="how often one begins with it; repeatable"),
    ] = None,
) -> None:
    """Write questions about the embedded world as Cambrian's files: JSONL and pictures."""
    from unimm_eval.train.tools.world_conversations import WorldConversations, write_conversations

    job = WorldConversations(
        conversations=conversations,
        turns=turns,
        seed=seed,
        families=dict(_weight(text) for text in family or ()),
    )
    typer.echo(f"{write_conversations(job, output)}: {conversations:,} conversations")


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise UserError(f"--family {text}: not NAME=WEIGHT.", fix="E.g. --family seed=2") from error
