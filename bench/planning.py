"""Planning: frames of many candidates from one context, encoded once and encoded at every step.

    OMP_NUM_THREADS=1 python -m bench.planning

Four context frames and 120 candidates of one action each (`nwm:mini`) on the demo, without guidance
at 1 and 4 denoising steps, and at the paper's 25. Both ways denoise the same noise behind the same
tokens by Euler's method and give the same latents, which is checked; "every step" lays context and
action out anew for each evaluation of the model, as code without a cache does. They take turns
within each round; a ratio is taken within a round, and the median over rounds is reported with the
lowest and the highest. Times are CPU time of one thread. Prints a Markdown table and writes
`results/bench/planning.json`.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.transfusion import processor
from unimm_eval.adapters.unimm import DEMO
from unimm_eval.api.actions import Motion, action_text
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.generate import FrameContext
from unimm_eval.model.generate.pictures import seeded_noise
from unimm_eval.model.generate.session import Session
from unimm_eval.model.generate.solver import solve
from unimm_eval.model.sequence import Document, PictureSegment, TextSegment, frames_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

RECORD = Path(__file__).parents[1] / "results" / "bench" / "planning.json"
CONTEXT = 4
STEPS = (1, 4, 25)


def shared(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    frames: Sequence[PictureSegment],
    actions: Sequence[str],
    *,
    steps: int,
) -> Tensor:
    """Latents [N, T, C] of the frame behind each action."""
    context = FrameContext(model, tokenizer, frames)
    return context.rollout(
        [[action] for action in actions],
        seeds=range(len(actions)),
        guidance_scale=1.0,
        num_inference_steps=steps,
    )[:, -1]


@torch.inference_mode()
def recomputed(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    frames: Sequence[PictureSegment],
    actions: Sequence[str],
    *,
    steps: int,
) -> Tensor:
    """The same, all of a sequence going through the model at every step."""
    context = frames_document(tokenizer, frames)
    rows: list[Document] = [
        [*context, TextSegment(ids=[*tokenizer.encode(action), tokenizer.boi])]
        for action in actions
    ]
    tokens, channels = model.config.latent_tokens, model.config.latent_channels

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        return Session(model, rows, new_tokens=tokens, pad=tokenizer.pad).denoise(z, t)

    noise = seeded_noise(range(len(actions)), tokens=tokens, channels=channels)
    return solve(velocity, noise, num_steps=steps, alpha=model.alpha)


def measure(
    model: UnifiedModel, tokenizer: Tokenizer, *, steps: int, candidates: int, rounds: int
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shape = (model.config.latent_tokens, model.config.latent_channels)
    frames = [
        PictureSegment(latents=rng.standard_normal(shape, dtype=np.float32)) for _ in range(CONTEXT)
    ]
    drawn = rng.standard_normal((candidates, 3)) * (3.0, 1.0, 0.3) + (7.0, 0.0, 0.0)
    actions = [action_text(Motion(dx=dx, dy=dy, dyaw=turn)) for dx, dy, turn in drawn]
    times: dict[str, list[float]] = {"shared": [], "every step": []}
    for _ in range(rounds):
        found = {}
        for name, way in (("shared", shared), ("every step", recomputed)):
            start = time.process_time()
            found[name] = way(model, tokenizer, frames, actions, steps=steps)
            times[name].append(time.process_time() - start)
        if not torch.allclose(found["shared"], found["every step"], atol=1e-3):
            raise ValueError("the two ways predicted different frames")
    ratios = [each / once for once, each in zip(*times.values(), strict=True)]
    return {
        "steps": steps,
        "candidates": candidates,
        "rounds": rounds,
        "candidates_a_cpu_second": {
            way: candidates / statistics.median(values) for way, values in times.items()
        },
        "faster": {
            "median": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    demo = load_checkpoint(DEMO, device=torch.device("cpu"), dtype=torch.float32)
    rows = [measure(demo.model, demo.tokenizer, steps=steps, **vars(options)) for steps in STEPS]
    record = {
        "hardware": {"processor": processor(), "threads": 1},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "context_frames": CONTEXT,
        "rows": rows,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print("| denoising steps | shared (candidates/s) | every step (candidates/s) | faster |")
    print("|---|---|---|---|")
    for row in rows:
        rate, faster = row["candidates_a_cpu_second"], row["faster"]
        print(
            f"| {row['steps']} | {rate['shared']:.1f} | {rate['every step']:.1f} "
            f"| {faster['median']:.2f}× ({faster['lowest']:.2f}–{faster['highest']:.2f}) |"
        )


if __name__ == "__main__":
    main()
