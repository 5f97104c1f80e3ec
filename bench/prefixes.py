"""Many questions about one picture: its beginning encoded once, against once a question.

    OMP_NUM_THREADS=1 python -m bench.prefixes

Thirty questions a picture, as GQA asks, in batches of sixteen, each answered greedily with up to
eight tokens: by the demo, whose pictures are 16 tokens, and by a model of the demo's sizes with
random weights and the paper's 256 tokens a picture. Both ways get the same prompts and give the
same texts, which is checked, and take turns within each round; a ratio is taken within a round, and
the median over rounds is reported with the lowest and the highest. Times are CPU time of one
thread, so that other work on the machine does not enter; the frozen encoder, whose share would be
the same, is left out. Prints a Markdown table and writes `results/bench/prefixes.json`.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.transfusion import processor
from unimm_eval.adapters.unimm import DEMO
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.generate import Prefixes, Prompt, Sampling, generate_text
from unimm_eval.model.sequence import (
    PictureSegment,
    conversation,
    document_length,
    prompt_document,
)
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

RECORD = Path(__file__).parents[1] / "results" / "bench" / "prefixes.json"
QUESTIONS, BATCH, NEW_TOKENS = 30, 16, 8
SHAPES = ("square", "ring", "triangle", "cross", "moon")
COLORS = ("red", "blue", "green", "yellow", "gray", "orange")


def prompts(model: UnifiedModel, tokenizer: Tokenizer, *, pictures: int) -> list[Prompt]:
    """QUESTIONS about each picture; latents are noise, since only their number matters."""
    shape = (model.config.latent_tokens, model.config.latent_channels)
    asked = [f"is there a {color} {shape}?" for color in COLORS for shape in SHAPES]
    made = []
    for seed in range(pictures):
        latents = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        for question in asked[:QUESTIONS]:
            laid = conversation(tokenizer, [[PictureSegment(latents=latents), question]])
            beginning = prompt_document([*laid[:-1], [tokenizer.eoi]])
            rest = laid[-1][1:] if isinstance(laid[-1], list) else []
            made.append(
                Prompt(
                    key=seed,
                    length=document_length(beginning),
                    beginning=lambda b=beginning: b,
                    rest=rest,
                )
            )
    return made


def answer(
    model: UnifiedModel, tokenizer: Tokenizer, asked: Sequence[Prompt]
) -> tuple[float, list[list[int]]]:
    """(CPU seconds, the ids of each answer)."""
    prefixes = Prefixes(model, pad=tokenizer.pad)
    texts: list[list[int]] = []
    start = time.process_time()
    for first in range(0, len(asked), BATCH):
        batch = asked[first : first + BATCH]
        texts += generate_text(
            prefixes.session(batch, new_tokens=[NEW_TOKENS] * len(batch)),
            tokenizer,
            seeds=[0] * len(batch),
            max_new_tokens=[NEW_TOKENS] * len(batch),
            sampling=[Sampling()] * len(batch),
            finished=lambda row, ids: False,
        )
    return time.process_time() - start, texts


def measure(
    model: UnifiedModel, tokenizer: Tokenizer, *, pictures: int, rounds: int
) -> dict[str, Any]:
    shared = prompts(model, tokenizer, pictures=pictures)
    whole = [replace(prompt, key=None) for prompt in shared]
    answer(model, tokenizer, whole[:BATCH])  # warms up
    times: dict[str, list[float]] = {"once": [], "each": []}
    for _ in range(rounds):
        seconds, texts = answer(model, tokenizer, shared)
        times["once"].append(seconds)
        seconds, expected = answer(model, tokenizer, whole)
        times["each"].append(seconds)
        if texts != expected:
            raise ValueError("the two ways answered differently")
    ratios = [each / once for each, once in zip(times["each"], times["once"], strict=True)]
    lengths = [len(prompt.rest) for prompt in shared]
    return {
        "picture_tokens": model.config.latent_tokens,
        "question_tokens": statistics.mean(lengths),
        "pictures": pictures,
        "questions": len(shared),
        "rounds": rounds,
        "cpu_milliseconds_a_question": {
            way: 1000 * statistics.median(values) / len(shared) for way, values in times.items()
        },
        "faster": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    demo = load_checkpoint(DEMO, device=torch.device("cpu"), dtype=torch.float32)
    large = UnifiedModel(replace(demo.model.config, latent_grid=16)).eval().requires_grad_(False)
    large.initialise(seed=0)
    torch.nn.init.normal_(large.text_head.weight, generator=torch.Generator().manual_seed(0))
    rows = {
        "demo": measure(demo.model, demo.tokenizer, **vars(options)),
        "pictures of 256 tokens": measure(large, demo.tokenizer, **vars(options)),
    }
    record = {
        "hardware": {"processor": processor(), "threads": 1},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "batch": BATCH,
        "new_tokens": NEW_TOKENS,
        "models": rows,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print("| model | picture, question (tokens) | by picture (ms) | by question (ms) | faster |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        cpu, faster = row["cpu_milliseconds_a_question"], row["faster"]
        print(
            f"| {name} | {row['picture_tokens']}, {row['question_tokens']:.0f} | {cpu['once']:.1f} "
            f"| {cpu['each']:.1f} | {faster['median']:.2f}× ({faster['lowest']:.2f}–"
            f"{faster['highest']:.2f}) |"
        )


if __name__ == "__main__":
    main()
