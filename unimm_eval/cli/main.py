"""`unimm-eval`: judge a model; list tasks and models; get data; report and compare; look at the
machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from unimm_eval.cli.program import run_program

CLUSTER = "Options of a cluster"

app = typer.Typer(
    name="unimm-eval",
    help="Judge one checkpoint of a unified multimodal model: language, understanding, generation.",
    epilog="Example: unimm-eval --model demo --tasks mini",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(help="What to judge: demo, or a checkpoint's folder; see `models`."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="What to measure: names, globs or groups (mini); see `tasks`."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many samples of each task.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, show_default="0", help="Seed of everything random.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(show_default="auto", help="cpu, cuda, cuda:1, mps.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(show_default="auto", help="float32, bfloat16, or auto: the model's own."),
    ] = None,
    batch_size: Annotated[
        str | None, typer.Option(show_default="auto", help="Outputs at once: a number, or auto.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(show_default="runs/MODEL-PLAN", help="Folder of the run.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TASK.KEY=VALUE", help="Change a task's setting; repeatable."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with these options; the command line wins.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(show_default="$UNIMM_EVAL_DATA or cache", help="Folder of benchmark files."),
    ] = None,
    vqa_model: Annotated[
        str | None,
        typer.Option(help="Finetuned child of the model, asked about pictures instead of it."),
    ] = None,
    vqa_because: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Why it counts as its child, where it does not say so itself."
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="local|ray",
            show_default="local",
            help="Who asks the model: this process, or workers of a Ray cluster.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, show_default="1", help="Workers, each with the model.", rich_help_panel=CLUSTER
        ),
    ] = None,
    worker_cpus: Annotated[
        float | None,
        typer.Option(show_default="1", help="CPUs of a worker.", rich_help_panel=CLUSTER),
    ] = None,
    worker_gpus: Annotated[
        float | None,
        typer.Option(show_default="0", help="GPUs of a worker.", rich_help_panel=CLUSTER),
    ] = None,
    scorers: Annotated[
        int | None,
        typer.Option(
            show_default="0", help="Who judges; 0: this process does.", rich_help_panel=CLUSTER
        ),
    ] = None,
    scorer_gpus: Annotated[
        float | None,
        typer.Option(
            show_default="0", help="GPUs of a scorer; a part is one too.", rich_help_panel=CLUSTER
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            show_default="a cluster of its own", help="Cluster to join.", rich_help_panel=CLUSTER
        ),
    ] = None,
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run", help="Say what would be done, and stop.")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    given = {
        "model": model,
        "tasks": tasks,
        "limit": limit,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
        "output": output,
        "set": assignments or None,
        "data_dir": data_dir,
        "vqa_model": vqa_model,
        "vqa_because": vqa_because,
        "executor": executor,
        "workers": workers,
        "worker_cpus": worker_cpus,
        "worker_gpus": worker_gpus,
        "scorers": scorers,
        "scorer_gpus": scorer_gpus,
        "address": address,
        "dry_run": dry_run,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if context.invoked_subcommand:
        if given or config:
            raise typer.BadParameter(
                f"{context.invoked_subcommand} takes its own options, after its name; "
                f"{', '.join(given) or 'config'} belongs to a run.",
                ctx=context,
            )
        return
    if version:
        from unimm_eval import __version__

        typer.echo(f"unimm-eval {__version__}")
        return
    if not given and config is None:
        typer.echo(context.get_help())
        return

    from unimm_eval.cli.runs import run_command

    run_command(given, config=config)


@app.command()
def tasks(
    name: Annotated[
        str | None, typer.Argument(help="Print the card and protocol of this task.")
    ] = None,
) -> None:
    """List the tasks, or print the card and protocol of one."""
    from unimm_eval.cli import listing

    if name is None:
        listing.list_tasks()
    else:
        listing.show_task(name)


@app.command()
def models(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List the kinds of models that can be judged, and what each may be able to do."""
    from unimm_eval.cli import listing

    if as_json:
        typer.echo(listing.models_as_json())
    else:
        listing.list_models()


@app.command()
def judge(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    judge: Annotated[
        str | None,
        typer.Option(help="openai:MODEL@URL, or a model as for --model; by default the run's own."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TASK.judge_KEY=VALUE", help="How it is asked; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(show_default="runs/MODEL-PLAN", help="Folder of the new run.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(show_default="$UNIMM_EVAL_DATA or cache", help="Folder of benchmark files."),
    ] = None,
) -> None:
    """Judge a run's outputs again, with another judge or once more; makes no output anew."""
    from unimm_eval.cli.runs import judge_command

    judge_command(run, judge=judge, assignments=assignments or (), output=output, data_dir=data_dir)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
) -> None:
    """Write report.html of a run again."""
    from unimm_eval.report import build_report

    typer.echo(build_report(run))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a run, or a record.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Another one.", metavar="B")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures.")
    ] = None,
) -> None:
    """Compare two runs sample by sample: differences with their errors, and what changed most."""
    from unimm_eval.cli.compare import compare_command

    compare_command(a, b, as_json=as_json, html=html)


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a record.", metavar="RUN")],
    baseline: Annotated[
        Path, typer.Option(metavar="RECORD", help="What it is held against: a record or a run.")
    ],
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=VALUE", help="How much worse is tolerated; repeatable."),
    ] = None,
    margins: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same as YAML, `task: 0.02` or `3%`.")
    ] = None,
    tasks: Annotated[
        list[str] | None, typer.Option(help="Only these tasks of the baseline: names or globs.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(show_default="RUN/gate", help="Folder of what is written.")
    ] = None,
) -> None:
    """Decide whether a run is worse than a baseline: exit 0 no, 1 yes, 3 unknown, for CI."""
    from unimm_eval.cli.gate import gate_command

    code = gate_command(
        run,
        baseline=baseline,
        margins=margin or (),
        margins_file=margins,
        tasks=tasks or (),
        output=output,
    )
    raise typer.Exit(code)


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.", metavar="TRAINDIR")],
    tasks: Annotated[str, typer.Option(help="What to measure, as for a run.")],
    output: Annotated[
        Path | None, typer.Option(show_default="runs/watch-TRAINDIR", help="Folder of the runs.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many samples of each task.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="TASK.KEY=VALUE", help="Change a task's setting; repeatable."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "auto",
    baseline: Annotated[
        Path | None, typer.Option(metavar="RECORD", help="Gate each checkpoint against it.")
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=VALUE", help="How much worse is tolerated; repeatable."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Judge what is there, and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 30.0,
) -> None:
    """Judge each checkpoint of a training run as it lands; plot its numbers against tokens."""
    from unimm_eval.cli.watch import watch_command

    code = watch_command(
        run,
        tasks=tasks,
        output=output,
        limit=limit,
        assignments=assignments or (),
        device=device,
        baseline=baseline,
        margins=margin or (),
        once=once,
        every=every,
    )
    raise typer.Exit(code)


@app.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", metavar="RUN")],
    results: Annotated[Path, typer.Option(help="Folder of published records.")] = Path("results"),
    name: Annotated[
        str | None, typer.Option(show_default="the model's own", help="What the model is called.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check.")] = False,
) -> None:
    """Check a run as a repository of results would, and write its record there."""
    from unimm_eval.cli.records import publish_command

    publish_command(run, results=results, name=name, dry_run=dry_run)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a record.", metavar="RUN")],
    format: Annotated[str, typer.Option(help="every-eval-ever, hf or lm-eval.")],
    output: Annotated[Path, typer.Option(help="Folder that the files are written to.")],
    organization: Annotated[
        str, typer.Option(help="Who evaluated; Every Eval Ever asks for it.")
    ] = "unknown",
) -> None:
    """Write a record in the form of Every Eval Ever, the Hugging Face Hub or lm-eval."""
    from unimm_eval.cli.records import export_command

    export_command(run, format=format, output=output, organization=organization)


@app.command()
def scaling(
    file: Annotated[
        Path, typer.Argument(help="CSV of runs, or a folder of run records.", metavar="FILE")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write the figure here: .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Fit scaling laws to runs at fixed compute: best size, tokens and loss, with intervals."""
    from unimm_eval.cli.scaling import scaling_command

    scaling_command(file, as_json=as_json, output=output)


leaderboard_app = typer.Typer(help="Published records as a site of static pages.")
app.add_typer(leaderboard_app, name="leaderboard")

ResultsDir = Annotated[Path, typer.Option(help="Folder of published records.")]


@leaderboard_app.command()
def build(
    results: ResultsDir = Path("results"),
    output: Annotated[Path, typer.Option(help="Folder of the site; replaced.")] = Path("site"),
) -> None:
    """Build the site; exit code 3 says that a record was left out."""
    from unimm_eval.cli.leaderboard import build_command

    raise typer.Exit(build_command(results, output))


@leaderboard_app.command()
def serve(
    results: ResultsDir = Path("results"),
    output: Annotated[
        Path | None, typer.Option(show_default="a temporary folder", help="Keep the site here.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Build the site and show it on this machine only."""
    from unimm_eval.cli.leaderboard import serve_command

    serve_command(results, output, port=port)


data_app = typer.Typer(help="Files of benchmarks: which are there, get them, check them.")
app.add_typer(data_app, name="data")

TaskNames = Annotated[
    list[str] | None, typer.Argument(metavar="[TASK]...", help="Whose files; all if none is named.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(show_default="$UNIMM_EVAL_DATA or cache", help="Folder of benchmark files."),
]


@data_app.command()
def status(tasks: TaskNames = None, data_dir: DataDir = None) -> None:
    """Show which files are there, with sizes and pins; reads none of them."""
    from unimm_eval.cli import data

    data.status(tasks or [], data_dir=data_dir)


@data_app.command()
def fetch(tasks: TaskNames = None, data_dir: DataDir = None) -> None:
    """Get what is missing, each file checked; goes on where it was stopped."""
    from unimm_eval.cli import data

    data.fetch(tasks or [], data_dir=data_dir)


@data_app.command()
def verify(tasks: TaskNames = None, data_dir: DataDir = None) -> None:
    """Read every file and compare it with its pin."""
    from unimm_eval.cli import data

    data.verify(tasks or [], data_dir=data_dir)


@data_app.command()
def convert(
    path: Annotated[
        Path, typer.Argument(help="A folder of NWM's trajectories, or of RECON's HDF5 files.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Where trajectories from HDF5 files go."),
    ] = None,
) -> None:
    """Make trajectories ready: NWM's pickles of poses as safetensors, RECON's files as folders."""
    from unimm_eval.cli import trajectories

    trajectories.convert(path, to=to)


@data_app.command()
def rooms(
    folder: Annotated[Path, typer.Argument(help="Where the trajectories go.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    count: Annotated[int, typer.Option(min=1, help="Trajectories.")] = 16,
    steps: Annotated[int, typer.Option(min=1, help="Of a quarter of a second, in each.")] = 80,
    size: Annotated[int, typer.Option(min=16, max=1024, help="Pixels a side.")] = 32,
    png: Annotated[bool, typer.Option("--png", help="Lossless frames, not JPEG as NWM's.")] = False,
) -> None:
    """Write drives through the world's rooms in NWM's folder format."""
    from unimm_eval.cli import trajectories

    trajectories.rooms(folder, split=split, count=count, steps=steps, size=size, png=png)


@app.command()
def rollout(
    model: Annotated[str, typer.Option(help="demo, or a checkpoint's folder; see `models`.")],
    actions: Annotated[
        str | None,
        typer.Option(
            metavar="SCRIPT",
            show_default="what is typed",
            help="WWWAAD, 'WW; turn left', or a file with one action a line.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCRIPT",
            show_default="each key, held",
            help="Another script from the same frames, for the sheet; repeatable.",
        ),
    ] = None,
    room: Annotated[int, typer.Option(min=0, help="Begin in this room of the world.")] = 0,
    trajectory: Annotated[
        Path | None, typer.Option(help="Begin in this folder of a trajectory, as NWM's.")
    ] = None,
    frame: Annotated[int, typer.Option(min=3, help="Of the trajectory: the last of four.")] = 3,
    picture: Annotated[
        list[Path] | None, typer.Option(help="Begin with four pictures: given four times.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of what is written.")] = Path("rollout"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Solver steps of each frame.")] = 25,
    guidance_scale: Annotated[float, typer.Option(min=1, help="1 is none.")] = 3.0,
    remember: Annotated[
        int, typer.Option(min=1, help="Actions before a context is opened on the last four frames.")
    ] = 4,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or auto.")] = "auto",
) -> None:
    """Drive a model by W, A, S, D or sentences, typed or from a script; writes films and sheets."""
    from unimm_eval.cli.rollout import rollout_command

    rollout_command(
        model=model,
        actions=actions,
        against=against or (),
        room=room,
        trajectory=trajectory,
        frame=frame,
        pictures=picture or (),
        output=output,
        seed=seed,
        steps=steps,
        guidance_scale=guidance_scale,
        remember=remember,
        device=device,
        dtype=dtype,
    )


@app.command()
def doctor() -> None:
    """Print versions, devices, folders and extras, and say what is amiss."""
    from unimm_eval.cli.doctor import examine

    raise typer.Exit(examine())


def main() -> None:
    sys.exit(run_program(app))


if __name__ == "__main__":
    main()
