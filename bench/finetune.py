"""Whether finetuning on questions makes the demo answer better: it, and its finetuned child.

    python -m bench.finetune --output runs/demo-vqa

writes conversations about the world's training split in Cambrian's form, finetunes the demo on them
for an epoch (`train/recipes/demo-vqa.yaml`), and judges `vqa16:mini` on the demo by itself and on
the demo with its child as `--vqa-model`. Prints the paired differences as a Markdown table and
writes `results/bench/finetune.json`. What is in `--output` goes on where it was stopped. Half an
hour on one quiet core.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unimm_eval import RunRecord, evaluate
from unimm_eval.engine.changes import MetricChange
from unimm_eval.engine.compare import compare_runs
from unimm_eval.engine.machine import processor
from unimm_eval.train.export import export_run
from unimm_eval.train.finetune import finetuning
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.tools.world_conversations import (
    ROWS,
    WorldConversations,
    write_conversations,
)

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "train" / "recipes" / "demo-vqa.yaml"
RECORD = ROOT / "results" / "bench" / "finetune.json"
TASK = "vqa16:mini"
CONVERSATIONS = WorldConversations(
    conversations=20_000,
    families={
        "ai2d": 3,
        "cvbench2d": 3,
        "realworldqa": 2,
        "seed": 2,
        "mmbench": 2,
        "mathvista": 1.5,
        "gqa": 1.5,
        "mme": 1.5,
        "textvqa": 1.5,
    },
)
"""What the demo answers worst begins a conversation more often."""


def recipe_of(output: Path) -> Recipe:
    """The recipe on the conversations in `output`."""
    return finetuning(RECIPE, output / "run", sources={"world": str(output / "world" / ROWS)})


def child(output: Path) -> Path:
    """The finetuned checkpoint, trained unless it is there."""
    write_conversations(CONVERSATIONS, output / "world")
    folder = output / "checkpoint"
    if not (folder / "config.json").exists():
        Pretraining(recipe_of(output), output / "run").run()
        export_run(output / "run", folder)
    return folder


def table(changes: list[MetricChange]) -> str:
    """Markdown: one row a metric."""
    lines = ["| | demo | finetuned | difference | 95% interval |", "|---|---|---|---|---|"]
    for row in changes:
        change = row.change
        error = "" if change.stderr is None else f" ± {change.stderr:.3f}"
        interval = (
            "" if change.interval is None else " to ".join(f"{x:+.3f}" for x in change.interval)
        )
        values = f"{row.a:.3f} | {row.b:.3f} | {change.value:+.3f}{error}"
        lines.append(f"| {row.metric} | {values} | {interval} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of data and runs")
    output = parser.parse_args().output
    folder = child(output)
    before = evaluate("demo", [TASK], output=output / "before")
    after = evaluate("demo", [TASK], vqa_model=str(folder), output=output / "after")
    (task,) = compare_runs(output / "before", output / "after").tasks
    print(table(list(task.metrics)))
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record(before, after, list(task.metrics)), indent=1) + "\n")


def record(before: RunRecord, after: RunRecord, changes: list[MetricChange]) -> dict[str, Any]:
    """What `results/bench/finetune.json` holds."""
    finetuned = after.vqa_model
    assert finetuned is not None
    training = finetuned.facts["training"]
    return {
        "parent": before.model.fingerprint,
        "child": finetuned.fingerprint,
        "parents_of_the_child": list(finetuned.parents),
        "conversations": asdict(CONVERSATIONS),
        "training": {
            key: training[key] for key in ("recipe_hash", "seed", "step", "tokens", "parent")
        },
        "optimizer": training["recipe"]["optimizer"],
        "tokens_a_step": training["recipe"]["rows"] * training["recipe"]["length"],
        "machine": processor(),
        "task": TASK,
        "protocol_hash": after.get(TASK).protocol_hash,
        "differences": [asdict(change) for change in changes],
    }


if __name__ == "__main__":
    main()
