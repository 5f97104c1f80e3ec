"""How far a checkpoint is above chance: itself, its pictures swapped, and its untrained twin.

    python -m bench.twin demo --output runs/twin

judges all mini tasks on the checkpoint and on its twin, and `vqa16:mini` once more with every
question asked about another sample's picture. Prints a Markdown table and writes
`results/bench/twin.json`. Runs in `--output` continue where they were stopped.
"""

import argparse
import json
import time
from pathlib import Path

from unimm_eval import RunRecord, evaluate
from unimm_eval.adapters.unimm import DEMO
from unimm_eval.api import Result
from unimm_eval.engine.machine import processor
from unimm_eval.train.export import export_twin

RECORD = Path(__file__).parents[1] / "results" / "bench" / "twin.json"

ROWS = (
    ("dclm:mini", "perplexity"),
    ("dclm:mini", "ratio"),
    ("cc12m:mini", "flow_loss"),
    ("geneval:mini", "overall"),
    ("geneval:mini", "single_object"),
    ("geneval:mini", "two_object"),
    ("geneval:mini", "counting"),
    ("geneval:mini", "colors"),
    ("geneval:mini", "position"),
    ("geneval:mini", "color_attr"),
    ("geneval:mini", "overall_held_out"),
    ("dpgbench:mini", "overall"),
    ("dpgbench:mini", "whole"),
    ("wise:mini", "overall"),
    ("fid:mini", "distance"),
    ("experts:mini", "specialization_over_twin"),
    ("experts:mini", "specialization"),
    ("vqa16:mini", "mean"),
    ("vqa16:mini", "general"),
    ("vqa16:mini", "knowledge"),
    ("vqa16:mini", "ocr_chart"),
    ("vqa16:mini", "vision_centric"),
    ("vqa16:mini", "mean_held_out"),
)
"""What the table shows, in this order."""

TOLERANCE = 1e-3
"""Relative slack when an interval of no width (a uniform guess) is compared with chance."""


def at_chance(result: Result) -> bool:
    """Whether the 95% interval contains what the card computes as chance."""
    assert result.chance is not None
    low, high = result.interval or (result.value, result.value)
    slack = TOLERANCE * abs(result.chance)
    return low - slack <= result.chance <= high + slack


def cell(result: Result) -> str:
    error = "" if result.stderr is None else f" ± {result.stderr:.2g}"
    return (
        f"{result.value:.3g}{error}" if abs(result.value) >= 100 else f"{result.value:.3f}{error}"
    )


def table(trained: RunRecord, twin: RunRecord, swapped: RunRecord) -> str:
    """Markdown: one row a metric."""
    lines = [
        "| task | metric | trained | pictures swapped | untrained twin | chance | twin at chance |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, metric in ROWS:
        ours, theirs = trained.get(task, metric), twin.get(task, metric)
        other = cell(swapped.get(task, metric)) if task == "vqa16:mini" else ""
        chance = "" if theirs.chance is None else f"{theirs.chance:.3g}"
        verdict = "" if theirs.chance is None else ("yes" if at_chance(theirs) else "**no**")
        lines.append(
            f"| `{task}` | {metric} | {cell(ours)} | {other} | {cell(theirs)} | {chance} "
            f"| {verdict} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="demo, or the folder of a checkpoint")
    parser.add_argument("--output", type=Path, required=True, help="folder of the three runs")
    arguments = parser.parse_args()
    folder = DEMO if arguments.checkpoint == "demo" else Path(arguments.checkpoint)
    output: Path = arguments.output
    export_twin(folder, output / "untrained")
    begin = time.perf_counter()
    trained = evaluate(arguments.checkpoint, ["mini"], output=output / "trained-run")
    seconds = time.perf_counter() - begin
    twin = evaluate(str(output / "untrained"), ["mini"], output=output / "untrained-run")
    swapped = evaluate(
        arguments.checkpoint,
        ["vqa16:mini"],
        settings={"vqa16:mini": {"swap_pictures": True}},
        output=output / "swapped-run",
    )
    print(table(trained, twin, swapped))
    runs = {"trained": trained, "untrained twin": twin, "pictures swapped": swapped}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "checkpoint": trained.model.fingerprint,
        "seconds_of_the_trained_run": round(seconds, 1),
        "machine": processor(),
        "results": {
            name: [row.model_dump(mode="json", exclude={"facts"}) for row in run.results]
            for name, run in runs.items()
        },
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
