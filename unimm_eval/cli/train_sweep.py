"""`unimm-train sweep RECIPE`: what a study costs, or the study itself."""

import json
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from unimm_eval.train.sweep import Run, Sweep
    from unimm_eval.train.sweep_cost import Cost
    from unimm_eval.train.sweep_seeds import Comparison

MFU_DEFAULT = 0.35
PEAK_DEFAULT = 989e12


class Scale(str, Enum):  # noqa: UP042 - typer shows the values
    """Sizes that a study runs at."""

    paper = "paper"
    toy = "toy"


def sweep(
    recipe: Annotated[
        Path, typer.Argument(help="YAML file with a `sweep`, such as train/recipes/ffn.yaml")
    ],
    output: Annotated[Path | None, typer.Option(help="folder of the runs and their table")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print runs, tokens, FLOPs and GPU-hours only")
    ] = False,
    scale: Annotated[
        Scale, typer.Option(help="toy: small models on the world (train/toy.py)")
    ] = Scale.paper,
    only: Annotated[
        list[str] | None, typer.Option(help="name of a run, or a pattern; may be given again")
    ] = None,
    shard: Annotated[str, typer.Option(help="I/N: every Nth run from the Ith on")] = "1/1",
    data_root: Annotated[
        Path | None,
        typer.Option(help="folder that the sources' places are in [env: UNIMM_TRAIN_DATA]"),
    ] = None,
    mfu: Annotated[float, typer.Option(help="share of the peak, for GPU-hours")] = MFU_DEFAULT,
    peak_flops: Annotated[
        float, typer.Option(help="of a GPU a second, for GPU-hours; H100 and H200 in bf16")
    ] = PEAK_DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Train every run of a study, or go on where it stands; its table is what `unimm-eval scaling`
    reads."""
    from unimm_eval.api import UserError
    from unimm_eval.train.parallel import Ranks
    from unimm_eval.train.places import root_of_data
    from unimm_eval.train.sweep import load_sweep
    from unimm_eval.train.sweep_cost import cost_of
    from unimm_eval.train.sweep_run import chosen, train_runs

    study = load_sweep(recipe, scale=scale.value)
    runs = chosen(study, only=only or (), shard=shard)
    if dry_run:
        costs = [cost_of(run, mfu=mfu, peak_flops=peak_flops) for run in runs]
        _show_costs(study, runs, costs, mfu=mfu, peak_flops=peak_flops, as_json=as_json)
        return
    if output is None:
        raise UserError("--output is missing: where the runs go", fix="Or give --dry-run.")
    root = root_of_data(data_root)
    first = Ranks().first
    rows = train_runs(study, runs, output, data_root=root, on_run=_reporter(runs, aloud=first))
    if first:
        _show_results(study, rows, output, as_json=as_json)


def _reporter(runs: "Sequence[Run]", *, aloud: bool) -> "Callable[[Run, str], None]":
    number = {run.name: index for index, run in enumerate(runs, start=1)}

    def show(run: "Run", what: str) -> None:
        if aloud:
            typer.echo(f"{number[run.name]}/{len(runs)}  {run.name}: {what}", err=True)

    return show


def _show_costs(
    study: "Sweep",
    runs: "Sequence[Run]",
    costs: "Sequence[Cost]",
    *,
    mfu: float,
    peak_flops: float,
    as_json: bool,
) -> None:
    from unimm_eval.cli.tables import console_for_tables
    from unimm_eval.train.sweep_cost import CONVENTION

    tokens = sum(cost.tokens for cost in costs)
    flops, hours = (sum(getattr(cost, key) for cost in costs) for key in ("flops", "gpu_hours"))
    if as_json:
        entries = [
            {"run": run.name, "labels": run.labels, "same": list(run.same), **cost.to_json()}
            for run, cost in zip(runs, costs, strict=True)
        ]
        sums = {"tokens": tokens, "flops": flops, "gpu_hours": hours}
        stated = {"mfu": mfu, "peak_flops": peak_flops, "convention": CONVENTION}
        found = {"study": study.name, "about": study.about, "scale": study.scale, **stated}
        typer.echo(json.dumps({**found, "runs": entries, "total": sums}, indent=2))
        return
    on_gpus = study.scale == "paper"
    columns = ("Run", "params", "active", "steps", "tokens", "FLOPs", "GPU-hours")
    table = _table(*columns[: 7 if on_gpus else 6])
    for run, cost in zip(runs, costs, strict=True):
        table.add_row(
            run.name,
            _large(cost.params),
            _large(cost.active_params),
            f"{cost.steps:,}",
            _large(cost.tokens),
            f"{cost.flops:.3g}",
            *([f"{cost.gpu_hours:,.3g}"] if on_gpus else []),
        )
    table.add_section()
    total = [f"{len(runs)} runs", "", "", "", _large(tokens), f"{flops:.3g}"]
    table.add_row(*total, *([f"{hours:,.4g}"] if on_gpus else []))
    console = console_for_tables()
    console.print(study.about, markup=False, highlight=False)
    console.print(table)
    for run in runs:
        if run.same:
            console.print(f"{run.name} stands for {', '.join(run.same)}, the same at this size.")
    console.print(CONVENTION, style="dim")
    if on_gpus:
        console.print(
            f"GPU-hours: at {mfu:.0%} of {peak_flops / 1e12:g} TFLOP/s (--mfu, --peak-flops).",
            style="dim",
        )


def _show_results(
    study: "Sweep", rows: Sequence[dict[str, Any]], output: Path, *, as_json: bool
) -> None:
    from unimm_eval.cli.tables import console_for_tables
    from unimm_eval.train.sweep_run import SUMMARY, TABLE
    from unimm_eval.train.sweep_seeds import compare_seeds

    if as_json:
        typer.echo((output / SUMMARY).read_text(encoding="utf-8"), nl=False)
        return
    console = console_for_tables()
    modalities = sorted({modality for row in rows for modality in row["held_out"]})
    table = _table("Run", "active", "tokens", "FLOPs", *(f"{name} loss" for name in modalities))
    for row in rows:
        losses = (row["held_out"].get(name) for name in modalities)
        table.add_row(
            row["run"],
            _large(row["active_params"]),
            _large(row["tokens"]),
            f"{row['flops']:.3g}",
            *("" if one is None else f"{one['loss']:.4f} ± {one['stderr']:.4f}" for one in losses),
        )
    console.print(table)
    for one in compare_seeds(study, rows):
        _show_seeds(one)
    console.print(f"{len(rows)} of {len(study.runs)} runs are done.")
    if modalities:
        console.print(f"{output / TABLE} is what unimm-eval scaling reads.")
    elif rows:
        console.print(
            "Held-out losses are of runs on the world. Judge each RUN/checkpoint with unimm-eval "
            "--tasks dclm,cc12m, and give the folder of the records to unimm-eval scaling."
        )


def _show_seeds(found: "Comparison") -> None:
    """The losses of each choice over seeds, and whether they are in the paper's order."""
    from unimm_eval.cli.tables import console_for_tables
    from unimm_eval.train.sweep_seeds import interval_of

    table = _table(f"{found.modality} loss", "mean over seeds", "95% interval (t)", "seeds")
    entries = [(choice, loss, "") for choice, loss in found.losses.items()]
    entries += [
        (f"{step.higher} − {step.lower}", step.difference, step.verdict) for step in found.steps
    ]
    table.add_column("")
    for name, estimate, verdict in entries:
        low, high = interval_of(estimate)
        value, interval = f"{estimate.value:.4f}", f"[{low:.4f}, {high:.4f}]"
        table.add_row(name, value, interval, str(estimate.n), verdict)
    console_for_tables().print(table)


def _large(count: float) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:g}"


def _table(*titles: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    return table
