"""The block mask of flex attention: built from intervals, against `create_block_mask`.

    OMP_NUM_THREADS=1 python -m bench.masks --compiled

A row holds documents of text and of pictures of 256 tokens. Both builders get the same intervals;
what they build is checked to be equal, indices and counts, for the forward and the backward pass.
They take turns within each round; a ratio is taken within a round, and the median over rounds is
reported with the lowest and the highest. Times are CPU time of one thread, so that other work on
the machine does not enter. With `--compiled`, `torch.compile(create_block_mask)` runs too (needs a
C++ compiler; its compilation is not counted). Prints a Markdown table and writes
`results/bench/masks.json`.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from bench.transfusion import processor
from unimm_eval.model.masks import BLOCK, Visible
from unimm_eval.model.sequence import Document, PictureSegment, TextSegment, pack

RECORD = Path(__file__).parents[1] / "results" / "bench" / "masks.json"
PICTURE_TOKENS = 256
LENGTHS = (1024, 4096, 8192)


def packed_row(length: int, *, seed: int) -> Visible:
    """The mask of one row of `length` tokens: documents of 40 to 1,500 tokens, each of text and up
    to three pictures, until no more fit."""
    rng = np.random.default_rng(seed)
    documents: list[Document] = []
    left = length
    while left >= 40:
        parts: list[TextSegment | PictureSegment] = []
        for size in rng.integers(20, 240, size=rng.integers(1, 5)):
            if left < size:
                break
            parts.append(TextSegment(ids=[1] * int(size)))
            left -= int(size)
            if left >= PICTURE_TOKENS and rng.random() < 0.6:
                parts.append(PictureSegment(latents=np.zeros((PICTURE_TOKENS, 1), np.float32)))
                left -= PICTURE_TOKENS
        if not parts:
            break
        documents.append(parts)
    return pack([documents], length=length, pad=0, grid_tokens=PICTURE_TOKENS, channels=1).visible


def check_equal(ours: BlockMask, theirs: BlockMask) -> None:
    for kind in ("kv", "full_kv", "q", "full_q"):
        for name in (f"{kind}_num_blocks", f"{kind}_indices"):
            if not torch.equal(getattr(ours, name), getattr(theirs, name)):
                raise SystemExit(f"{name} differ")


def milliseconds(build: Callable[[], BlockMask]) -> float:
    begin = time.process_time()
    build()
    return 1000 * (time.process_time() - begin)


def measure(length: int, *, rounds: int, compiled: bool) -> dict[str, Any]:
    """Medians over rounds, in milliseconds, and how many times faster ours is."""
    visible = packed_row(length, seed=length)
    ours = visible.blocks()

    def peer(create: Callable[..., BlockMask]) -> Callable[[], BlockMask]:
        return lambda: create(ours.mask_mod, 1, None, length, length, device="cpu")

    peers = {"create_block_mask": peer(create_block_mask)}
    if compiled:
        peers["compiled create_block_mask"] = peer(torch.compile(create_block_mask))
    for build in peers.values():
        check_equal(ours, build())
    times: dict[str, list[float]] = {name: [] for name in ("intervals", *peers)}
    for _ in range(rounds):
        times["intervals"].append(milliseconds(visible.blocks))
        for name, build in peers.items():
            times[name].append(milliseconds(build))
    pairs = [(name, times[name]) for name in peers]
    ratios = {
        name: [other / own for own, other in zip(times["intervals"], theirs, strict=True)]
        for name, theirs in pairs
    }
    full = int(ours.full_kv_num_blocks.sum())
    partial = int(ours.kv_num_blocks.sum())
    return {
        "tokens": length,
        "blocks": {"full": full, "partial": partial, "all": (-(-length // BLOCK)) ** 2},
        "cpu_milliseconds": {name: statistics.median(values) for name, values in times.items()},
        "faster": {
            name: {"median": statistics.median(r), "lowest": min(r), "highest": max(r)}
            for name, r in ratios.items()
        },
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line a length and a peer."""
    lines = [
        "| tokens | blocks full, partial, of | from intervals | peer | its time | ratio | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        blocks, took = row["blocks"], row["cpu_milliseconds"]
        for name, ratio in row["faster"].items():
            lines.append(
                f"| {row['tokens']:,} | {blocks['full']}, {blocks['partial']}, {blocks['all']} "
                f"| {took['intervals']:.2f} ms | `{name}` | {took[name]:.1f} ms "
                f"| **{ratio['median']:.0f}** | {ratio['lowest']:.0f} to {ratio['highest']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        measure(length, rounds=arguments.rounds, compiled=arguments.compiled) for length in LENGTHS
    ]
    print(table(rows))
    record = {
        "hardware": {"processor": processor(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "block_size": BLOCK,
        "picture_tokens": PICTURE_TOKENS,
        "rounds": arguments.rounds,
        "masks": rows,
    }
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
