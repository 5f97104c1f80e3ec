"""`unimm-train pretrain`: train by a recipe, on one process or on those that torchrun started.

What stands in the recipe decides the weights; the options here decide how they are computed, what
is measured on the way and where that is sent, and may change from one call to the next.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unimm_eval.train.log import StepLog
    from unimm_eval.train.recipe import Recipe

RecipeArgument = Annotated[Path, typer.Argument(help="YAML file, such as train/recipes/demo.yaml")]
OutputOption = Annotated[Path, typer.Option(help="folder to write")]
_PARALLEL, _WATCH, _STATES = "How it is computed", "What is measured", "Saved states"


def pretrain(
    recipe: RecipeArgument,
    output: OutputOption,
    until: Annotated[int | None, typer.Option(min=1, help="stop after this step")] = None,
    log_every: Annotated[int, typer.Option(min=1, help="steps between printed lines")] = 20,
    workers: Annotated[int, typer.Option(min=0, help="processes that make batches")] = 1,
    device: Annotated[
        str, typer.Option(help="auto, cpu or cuda", rich_help_panel=_PARALLEL)
    ] = "auto",
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="shard weights over all ranks", rich_help_panel=_PARALLEL)
    ] = False,
    expert_parallel: Annotated[
        int,
        typer.Option(min=1, help="ranks that share out the experts", rich_help_panel=_PARALLEL),
    ] = 1,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute", help="compute blocks again in the backward", rich_help_panel=_PARALLEL
        ),
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile each block", rich_help_panel=_PARALLEL)
    ] = False,
    async_save: Annotated[
        bool, typer.Option("--async-save", help="save while training", rich_help_panel=_STATES)
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="states to keep", rich_help_panel=_STATES)] = 2,
    track: Annotated[
        str | None, typer.Option(help="wandb or trackio", rich_help_panel=_WATCH)
    ] = None,
    evaluate: Annotated[
        str | None, typer.Option(help="tasks to judge on, such as mini", rich_help_panel=_WATCH)
    ] = None,
    evaluate_every: Annotated[
        int, typer.Option(min=1, help="steps between evaluations", rich_help_panel=_WATCH)
    ] = 1000,
    evaluate_limit: Annotated[
        int | None, typer.Option(min=1, help="samples a task", rich_help_panel=_WATCH)
    ] = None,
    peak_flops: Annotated[
        float | None,
        typer.Option(min=1, help="a device's FLOP/s, for the MFU", rich_help_panel=_WATCH),
    ] = None,
    spike_threshold: Annotated[
        float,
        typer.Option(min=0, help="deviations that stop the run, or inf", rich_help_panel=_WATCH),
    ] = 20.0,
) -> None:
    """Train by a recipe, or go on exactly where the folder stands."""
    from unimm_eval.train.recipe import load_recipe

    train(
        load_recipe(recipe),
        output,
        until=until,
        log_every=log_every,
        workers=workers,
        device=device,
        fsdp=fsdp,
        expert_parallel=expert_parallel,
        recompute=recompute,
        compile_=compile_,
        async_save=async_save,
        keep=keep,
        track=track,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        evaluate_limit=evaluate_limit,
        peak_flops=peak_flops,
        spike_threshold=spike_threshold,
    )


def train(
    recipe: "Recipe",
    output: Path,
    *,
    until: int | None = None,
    log_every: int = 20,
    workers: int = 1,
    device: str = "auto",
    fsdp: bool = False,
    expert_parallel: int = 1,
    recompute: bool = False,
    compile_: bool = False,
    async_save: bool = False,
    keep: int = 2,
    track: str | None = None,
    evaluate: str | None = None,
    evaluate_every: int = 1000,
    evaluate_limit: int | None = None,
    peak_flops: float | None = None,
    spike_threshold: float = 20.0,
) -> None:
    """Train in the folder `output`, as the options of `pretrain` say."""
    from unimm_eval.train.evaluation import Evaluation
    from unimm_eval.train.parallelize import Layout
    from unimm_eval.train.pretrain import Pretraining, Watch
    from unimm_eval.train.track import Tracker

    run = Pretraining(
        recipe,
        output,
        workers=workers,
        layout=Layout(
            fsdp=fsdp, expert_parallel=expert_parallel, recompute=recompute, compile=compile_
        ),
        device=device,
        keep=keep,
        asynchronous=async_save,
    )
    tracker = None
    if run.ranks.first:
        for warning in run.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if run.step:
            typer.echo(f"going on from step {run.step} of {run.recipe.steps}")
        tracker = Tracker(track, run.recipe, output) if track is not None else None
    show = _printer(run.recipe.steps, log_every)

    def on_step(entry: "StepLog") -> None:
        show(entry)
        if tracker is not None:
            tracker(entry)

    judged = None
    if evaluate is not None:
        judged = Evaluation(
            judge=_judge(evaluate, limit=evaluate_limit, device=run.ranks.device.type),
            every=evaluate_every,
            say=lambda what: typer.echo(f"warning: {what}", err=True),
        )
    try:
        run.run(
            until=until,
            watch=Watch(
                on_step=on_step,
                evaluate=judged,
                peak=peak_flops,
                spike_threshold=spike_threshold,
            ),
        )
    finally:
        if tracker is not None:
            tracker.close()


def _judge(
    tasks: str, *, limit: int | None, device: str
) -> Callable[[Path, Path], Mapping[str, float]]:
    """The public `evaluate()` as training calls it: metrics by `task/metric`."""

    def judge(checkpoint: Path, output: Path) -> dict[str, float]:
        from unimm_eval.engine.evaluate import evaluate

        record = evaluate(str(checkpoint), tasks, limit=limit, device=device, output=output)
        return {f"{row.task}/{row.metric}": row.value for row in record.results}

    return judge


def _printer(steps: int, every: int) -> "Callable[[StepLog], None]":
    """Prints a line every so many steps, with tokens a second and the time left."""
    begin, first = time.monotonic(), -1
    tokens = 0

    def show(entry: "StepLog") -> None:
        nonlocal first, tokens
        if first < 0:
            first = entry.step - 1
        tokens += entry.tokens
        for name, value in (entry.evaluation or {}).items():
            typer.echo(f"step {entry.step}  {name} {value}")
        if entry.step % every and entry.step != steps:
            return
        elapsed = time.monotonic() - begin
        left = elapsed / (entry.step - first) * (steps - entry.step)
        mfu = "" if entry.mfu is None else f"MFU {entry.mfu:.1%}  "
        typer.echo(
            f"step {entry.step}/{steps}  text {entry.text_loss:.4f}  flow {entry.flow_loss:.4f}  "
            f"grad {entry.grad_norm:.2f}  {tokens / elapsed:,.0f} tokens/s  {mfu}"
            f"{left / 60:.0f} min left"
        )

    return show
