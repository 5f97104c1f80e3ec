"""What a model learns of pictures in front of captions: noised as in the paper, or clean.

    python -m bench.context_noise --output runs/context_noise --steps 400

continues a checkpoint (the demo) on the same documents in the same order, once an arm:

    clean          captioned pictures are shown at t = 1
    paper          they are noised, at the times of the demo's small latents (median .54)
    paper-siglip2  all pictures are noised as the latents of SigLIP 2 are (median t .105)

and measures each on the world's unseen pictures, all shown clean: nats a caption token, accuracy on
questions (`vqa16:mini`), and the flow loss (`cc12m:mini`). Prints a Markdown table and writes
`results/bench/context_noise.json`. Arms in `--output` go on where they were stopped.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from unimm_eval import RunRecord, evaluate
from unimm_eval.adapters.unimm import DEMO
from unimm_eval.engine.machine import processor
from unimm_eval.model import flow
from unimm_eval.model.checkpoint import Checkpoint, load_checkpoint
from unimm_eval.model.sequence import PictureSegment, describe_document, document_length, pack
from unimm_eval.stats import Estimate, ratio
from unimm_eval.train.export import export_run
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import Recipe, load_recipe
from unimm_eval.world import render, rng_for, sample_captioned

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "results" / "bench" / "context_noise.json"
CAPTIONS = 512
TASKS = ("vqa16:mini", "cc12m:mini")
MIXTURE = {"text": 0.1, "text_to_image": 0.3, "image_to_text": 0.5, "chat": 0.1}
"""Captions above all; a few questions, so that their template is not forgotten."""

SIGLIP2 = flow.shift_factor(256, 1152)
# Uniform times have a logistic logit, which a normal of deviation 1.702 resembles to .01.
SIGLIP2_TIMES = {"mean": math.log(flow.shift_factor(16, 192) / SIGLIP2), "std": 1.702}
ARMS: dict[str, dict[str, Any]] = {
    "clean": {"context_noise": "clean"},
    "paper": {"context_noise": "paper"},
    "paper-siglip2": {"context_noise": "paper", "logit_normal": SIGLIP2_TIMES},
}


def recipe_of(arm: str, *, parent: str, steps: int, rows: int) -> Recipe:
    """The demo's model, on captions, from `parent` on."""
    values = load_recipe(ROOT / "train" / "recipes" / "demo.yaml").model_dump()
    values["optimizer"].update(
        learning_rate=5e-4, warmup_steps=steps // 10, decay_steps=steps // 2, final_fraction=0.05
    )
    stages = ({"from_step": 0, "mixture": MIXTURE},)
    values.update(name=arm, parent=parent, steps=steps, rows=rows, stages=stages, **ARMS[arm])
    return Recipe(**values)


@torch.inference_mode()
def caption_nats(checkpoint: Checkpoint, *, captions: int) -> tuple[list[float], list[float]]:
    """Nats and tokens of each caption, `<eos>` included, behind its clean picture."""
    config, words = checkpoint.model.config, checkpoint.tokenizer
    nats, tokens = [], []
    for index in range(captions):
        rng = rng_for(split="test", purpose="bench/context_noise", index=index)
        caption, scene = sample_captioned(rng, split="test")[:2]
        pixels = torch.from_numpy(render(scene))[None]
        picture = PictureSegment(latents=checkpoint.files.encoder.encode(pixels)[0].numpy())
        document = describe_document(words, caption, picture)
        batch = pack(
            [[document]],
            length=document_length(document),
            pad=words.pad,
            grid_tokens=config.latent_tokens,
            channels=config.latent_channels,
        )
        losses = checkpoint.model.losses(batch, with_balance=False)
        nats.append(float(losses.text_sum))
        tokens.append(float(losses.text_count))
    return nats, tokens


def cell(value: float, stderr: float | None, digits: int = 3) -> str:
    error = "" if stderr is None else f" ± {stderr:.1g}"
    return f"{value:.{digits}f}{error}"


def table(nats: dict[str, Estimate], runs: dict[str, RunRecord]) -> str:
    """Markdown: one row an arm."""
    lines = ["| | nats a caption token | accuracy on questions | flow loss |", "|---|---|---|---|"]
    for arm, estimate in nats.items():
        vqa, loss = runs[arm].get("vqa16:mini", "mean"), runs[arm].get("cc12m:mini", "flow_loss")
        lines.append(
            f"| {arm} | {cell(estimate.value, estimate.stderr)} | {cell(vqa.value, vqa.stderr)} "
            f"| {cell(loss.value, loss.stderr, 4)} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arms")
    parser.add_argument("--parent", default="demo", help="demo, or a checkpoint of its recipe")
    parser.add_argument("--steps", type=int, default=400, help="of each arm")
    parser.add_argument("--rows", type=int, default=16, help="packed rows of 256 tokens a step")
    parser.add_argument("--limit", type=int, help="samples a measurement, at least 16, to try it")
    given = parser.parse_args(arguments)
    folders = {"before": DEMO if given.parent == "demo" else Path(given.parent)}
    for arm in ARMS:
        recipe = recipe_of(arm, parent=given.parent, steps=given.steps, rows=given.rows)
        Pretraining(recipe, given.output / arm).run()
        folders[arm] = given.output / f"{arm}-checkpoint"
        export_run(given.output / arm, folders[arm])
    captions = min(CAPTIONS, given.limit or CAPTIONS)
    found: dict[str, list[float]] = {}
    nats: dict[str, Estimate] = {}
    runs: dict[str, RunRecord] = {}
    names = [str(index) for index in range(captions)]
    for arm, folder in folders.items():
        checkpoint = load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)
        found[arm], tokens = caption_nats(checkpoint, captions=captions)
        nats[arm] = ratio(found[arm], tokens, names)
        output = given.output / f"{arm}-run"
        runs[arm] = evaluate(str(folder), TASKS, limit=given.limit, output=output)
    paired = {
        arm: ratio([a - b for a, b in zip(found[arm], found["clean"], strict=True)], tokens, names)
        for arm in ("paper", "paper-siglip2")
    }
    print(table(nats, runs))
    for arm, estimate in paired.items():
        print(f"{arm} − clean, paired: {cell(estimate.value, estimate.stderr)} nats a token")
    record = {
        "parent": runs["before"].model.fingerprint,
        "steps": given.steps,
        "rows": given.rows,
        "mixture": MIXTURE,
        "arms": ARMS,
        "machine": processor(),
        "nats_per_caption_token": {arm: asdict(estimate) for arm, estimate in nats.items()},
        "more_nats_than_clean": {arm: asdict(estimate) for arm, estimate in paired.items()},
        "results": {
            arm: [row.model_dump(mode="json", exclude={"facts"}) for row in run.results]
            for arm, run in runs.items()
        },
    }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
