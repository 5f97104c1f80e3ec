"""The runs of a study, one after another, and the table that they end in.

    DIR/NAME/           a training run (`pretrain.py`), and its newest state
    DIR/NAME/checkpoint the folder that unimm-eval judges
    DIR/NAME/done.json  what it cost and its held-out losses; written last
    DIR/runs.csv        a row a run and modality: what `unimm-eval scaling` reads
    DIR/runs.json       the same with standard errors and what each run is
    DIR/seeds.json      where the study has seeds: means, intervals, differences (`sweep_seeds.py`)
    DIR/seeds.png       the same, drawn

A run with a done.json is not redone, one without goes on where its state stands. Machines that
share DIR may each take a part of the runs; the table is of all that are done.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.model.counts import count_parameters
from unimm_eval.train.budget import training_flops_per_token
from unimm_eval.train.export import write_checkpoint
from unimm_eval.train.held_out import held_out_losses, measured
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.parallelize import Layout
from unimm_eval.train.places import under
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import parse_recipe
from unimm_eval.train.sweep import Run, Sweep
from unimm_eval.train.sweep_seeds import compare_seeds, draw_seeds

CHECKPOINT = "checkpoint"
DONE = "done.json"
TABLE = "runs.csv"
SUMMARY = "runs.json"
SEEDS = "seeds.json"
COLUMNS = ("run", "arch", "modality", "params", "active_params", "tokens", "flops", "loss")


def chosen(sweep: Sweep, *, only: Sequence[str], shard: str) -> list[Run]:
    """The runs named by the patterns `only` (all without), and of these those of shard `i/n`, i
    from 1. Raises UserError for a pattern that names none, or a shard that is none."""
    for pattern in only:
        if not any(fnmatchcase(run.name, pattern) for run in sweep.runs):
            names = ", ".join(run.name for run in sweep.runs)
            raise UserError(f"--only {pattern}: there is no such run", fix=f"Runs: {names}")
    runs = [
        run
        for run in sweep.runs
        if not only or any(fnmatchcase(run.name, pattern) for pattern in only)
    ]
    index, _, count = shard.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UserError(f"--shard {shard}: not I/N with I from 1 to N", fix="Give 1/2, then 2/2.")
    return runs[int(index) - 1 :: int(count)]


def train_runs(
    sweep: Sweep,
    runs: Sequence[Run],
    output: Path,
    *,
    data_root: Path | None = None,
    layout: Layout | None = None,
    on_run: Callable[[Run, str], None],
) -> list[dict[str, Any]]:
    """Train what is not done of `runs`, their sources below `data_root`, models laid over devices
    by `layout`; returns what `write_tables` does. `on_run` hears what becomes of each. Raises
    UserError or IncompleteError as training does."""
    workers = 0 if sweep.scale == "toy" else 1  # a second process only costs where one core works
    for run in runs:
        folder = output / run.name
        if _done(folder, run) is not None:
            on_run(run, "done before")
            continue
        on_run(run, "training")
        values = under(data_root, run.recipe.model_dump(exclude_unset=True))
        recipe = parse_recipe(values, place=run.name)
        training = Pretraining(recipe, folder, workers=workers, layout=layout)
        training.run()
        write_checkpoint(training, folder / CHECKPOINT)
        if training.ranks.first:
            _finish(folder, run, tokens=training.tokens_seen())
            write_tables(sweep, output)
        training.ranks.wait()
    return write_tables(sweep, output)


def write_tables(sweep: Sweep, output: Path) -> list[dict[str, Any]]:
    """Write the tables of all runs that are done, on the first rank; returns a dictionary each.
    There is no runs.csv where no run has held-out losses."""
    done = [
        _row(run, facts)
        for run in sweep.runs
        if (facts := _done(output / run.name, run)) is not None
    ]
    if not Ranks().first:
        return done
    study = {"study": sweep.name, "about": sweep.about, "scale": sweep.scale}
    output.mkdir(parents=True, exist_ok=True)
    _write(output / SUMMARY, json.dumps({**study, "runs": done}, indent=2) + "\n")
    rows = [
        {**row, "modality": modality, "loss": held_out["loss"]}
        for row in done
        for modality, held_out in row["held_out"].items()
    ]
    comparisons = compare_seeds(sweep, done)
    if comparisons:
        found = {**study, "seeds": [one.to_json() for one in comparisons]}
        _write(output / SEEDS, json.dumps(found, indent=2) + "\n")
        draw_seeds(output / "seeds.png", comparisons, title=sweep.name)
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(output / TABLE, text.getvalue())
    return done


def _finish(folder: Path, run: Run, *, tokens: int) -> None:
    modalities = measured(run.recipe)
    losses = held_out_losses(folder / CHECKPOINT, modalities) if modalities else {}
    facts = {
        "identity": run.identity,
        "tokens": tokens,
        "held_out": {modality: asdict(loss) for modality, loss in losses.items()},
    }
    _write(folder / DONE, json.dumps(facts, indent=2) + "\n")


def _done(folder: Path, run: Run) -> dict[str, Any] | None:
    """What a finished run came to. Raises UserError when it is of another recipe."""
    path = folder / DONE
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        identity = facts["identity"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error})", fix="Delete it; the run is done.") from error
    if identity != run.identity:
        raise UserError(
            f"{folder}: holds a run of another recipe", fix="Give the study another --output."
        )
    return dict(facts)


def _row(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    config = run.recipe.model_config_()
    counts = count_parameters(config)
    each = training_flops_per_token(config, length=run.recipe.length)
    return {
        "run": run.name,
        "labels": run.labels,
        "arch": run.arch,
        "params": counts.total,
        "active_params": counts.active,
        "tokens": facts["tokens"],
        "flops": each * facts["tokens"],
        "held_out": facts["held_out"],
    }


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise IncompleteError(
            f"{path} cannot be written ({error})", fix="Make room and give the same command."
        ) from error
