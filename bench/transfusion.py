"""Ours against transfusion-pytorch, at the same sizes, on this machine, in one run.

    pip install 'unimm-eval[bench]'
    OMP_NUM_THREADS=2 python -m bench.transfusion --threads 2 --rounds 3

Measures seconds a picture of guided generation (ours in a batch, theirs with `sample_many` and
`sample_one`) and tokens per second of a training step, at two sizes and in two precisions, prints a
Markdown table and writes `results/bench/transfusion.json`.

What is the same: width, depth, heads and their size, hidden width of the feed-forward layers,
v-prediction, prompts, latents, 25 Euler evaluations (theirs: `method="euler"` over 26 times),
guidance 3.0, AdamW, documents, threads. Its own solver is midpoint, which evaluates twice a step; a
row of its own compares as many steps. Ours has a feed-forward layer for each modality; theirs one,
and adaptive norms. Both counts of parameters are in the record. In bf16 ours has weights in bf16
and fp32 masters, as it is trained, and theirs runs under autocast. Contenders take turns within
each round; a ratio is taken within a round, and the median over rounds is reported with the lowest
and the highest.

A token counts where it is text or a latent of a document; delimiters, padding and what else an
implementation adds do not. Ours packs documents into rows, theirs pads them to the longest.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unimm_eval.engine.machine import processor
from unimm_eval.model.allocator import keep_freed_memory
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.generate import generate_pictures
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    caption_document,
    document_length,
    pack,
    text_document,
)
from unimm_eval.model.tokenizer import SPECIAL, Tokenizer
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.optimizer import MasterWeights
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.recipe import OptimizerRecipe

RECORD = Path(__file__).parents[1] / "results" / "bench" / "transfusion.json"
PEER = "transfusion-pytorch"
BYTES = 256
LEARNING_RATE = 1e-4
WANTED = {"training": 4.0, "sample_many": 5.0, "sample_one": 3.0}
"""How many times faster ours is meant to be."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What both sides have in common. Lengths of text are drawn from a range, end excluded."""

    dim: int
    depth: int
    heads: int
    head_dim: int = 64
    grid: int
    channels: int
    pictures: int = 8
    evaluations: int = 25
    guidance: float = 3.0
    documents: int
    caption: int
    captions: tuple[int, int]
    texts: tuple[int, int]

    @property
    def picture_tokens(self) -> int:
        return self.grid**2

    @property
    def hidden(self) -> int:
        """Two thirds of four times the width, as transfusion-pytorch has it."""
        return int(self.dim * 4 * 2 / 3)


SIZES = {
    "small": Sizes(
        dim=256,
        depth=6,
        heads=4,
        grid=4,
        channels=192,
        documents=64,
        caption=24,
        captions=(8, 48),
        texts=(16, 192),
    ),
    "large": Sizes(
        dim=512,
        depth=8,
        heads=8,
        grid=16,
        channels=16,
        documents=16,
        caption=64,
        captions=(24, 96),
        texts=(64, 640),
    ),
}
"""`small` as the demo: pictures of 32² in patches of 8². `large` as transfusion-pytorch's README:
width 512, depth 8, with pictures of 256 tokens like the paper's, as latents of SD-VAE."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A document: text, and a picture behind it or none."""

    text: str
    latents: np.ndarray | None

    @property
    def tokens(self) -> int:
        return len(self.text) + (0 if self.latents is None else len(self.latents))


def random_texts(lengths: Iterable[int], rng: np.random.Generator) -> list[str]:
    """Random letters: one byte and so one token each, on both sides."""
    return ["".join(chr(97 + k) for k in rng.integers(0, 26, length)) for length in lengths]


def examples(sizes: Sizes, *, mixed: bool) -> list[Example]:
    """Captioned pictures of one length; or, `mixed`, of several, every second document a text."""
    rng = np.random.default_rng(0)
    lengths = [sizes.caption] * sizes.documents
    if mixed:
        ranges = [sizes.texts if index % 2 else sizes.captions for index in range(sizes.documents)]
        lengths = [int(rng.integers(*range_)) for range_ in ranges]
    shape = (sizes.picture_tokens, sizes.channels)
    return [
        Example(
            text=text,
            latents=None if mixed and index % 2 else rng.standard_normal(shape, dtype=np.float32),
        )
        for index, text in enumerate(random_texts(lengths, rng))
    ]


class Ours:
    """The unified model with a feed-forward layer for each modality."""

    def __init__(self, sizes: Sizes, dtype: torch.dtype) -> None:
        self.sizes = sizes
        self.tokenizer = Tokenizer.train(iter(()), vocab_size=BYTES + len(SPECIAL))
        self.model = UnifiedModel(
            ModelConfig(
                vocab_size=self.tokenizer.vocab_size,
                dim=sizes.dim,
                num_layers=sizes.depth,
                num_heads=sizes.heads,
                num_kv_heads=sizes.heads,
                head_dim=sizes.head_dim,
                max_length=4096,
                feed_forward="modality",
                hidden_dim=sizes.hidden,
                prediction="v",
                latent_channels=sizes.channels,
                latent_grid=sizes.grid,
            )
        ).initialise(seed=0)
        recipe = OptimizerRecipe(learning_rate=LEARNING_RATE, warmup_steps=0, decay_steps=0)
        self.optimizer = MasterWeights(self.model, recipe)
        self.model.cast(dtype)

    def generate(self, prompts: Sequence[str]) -> Tensor:
        """[prompts, T, C]."""
        return generate_pictures(
            self.model,
            self.tokenizer,
            prompts,
            seeds=list(range(len(prompts))),
            guidance_scale=self.sizes.guidance,
            num_inference_steps=self.sizes.evaluations,
        )

    def train_step(self, batch: Sequence[Example]) -> float:
        """The loss, and weights that have changed."""
        rng = np.random.default_rng(0)
        documents = [self._document(example, rng) for example in batch]
        rows = packed(documents)
        batch_of_rows = pack(
            rows,
            length=max(map(_length, rows)),
            pad=self.tokenizer.pad,
            grid_tokens=self.sizes.picture_tokens,
            channels=self.sizes.channels,
        )
        losses = self.model.losses(batch_of_rows, with_balance=False)
        loss = losses.text_sum / losses.text_count + losses.flow_sum / losses.flow_count
        loss.backward()
        self.optimizer.step(LEARNING_RATE, Ranks())
        return loss.item()

    def _document(self, example: Example, rng: np.random.Generator) -> Document:
        if example.latents is None:
            return text_document(self.tokenizer, example.text)
        noise = rng.standard_normal(example.latents.shape, dtype=np.float32)
        picture = PictureSegment(latents=example.latents, t=rng.random(), noise=noise, flow=True)
        return caption_document(self.tokenizer, example.text, picture)


class Theirs:
    """transfusion-pytorch with its defaults, but for the solver (see above)."""

    def __init__(self, sizes: Sizes, dtype: torch.dtype, *, method: str = "euler") -> None:
        from loguru import logger
        from transfusion_pytorch import Transfusion

        logger.disable("transfusion_pytorch")
        self.sizes, self.reduced = sizes, dtype != torch.float32
        self.model: nn.Module = Transfusion(
            num_text_tokens=BYTES,
            dim_latent=sizes.channels,
            modality_default_shape=(sizes.grid, sizes.grid),
            odeint_kwargs={"method": method},
            transformer={
                "dim": sizes.dim,
                "depth": sizes.depth,
                "heads": sizes.heads,
                "dim_head": sizes.head_dim,
            },
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=LEARNING_RATE, fused=True)

    def generate(self, prompts: Sequence[str]) -> Tensor:
        """[prompts, T, C] with `sample_many`."""
        with self._quietly():
            samples = self.model.sample_many([ids(text) for text in prompts], **self._settings())
        return torch.stack([sample[0].tensor.flatten(0, 1) for sample in samples])

    def generate_one(self, prompt: str) -> Tensor:
        """[T, C] with `sample_one`."""
        with self._quietly():
            sample = self.model.sample_one(ids(prompt), cache_kv=True, **self._settings())
        return sample[0].tensor.flatten(0, 1)

    def train_step(self, batch: Sequence[Example]) -> float:
        """The loss, and weights that have changed."""
        grid = (self.sizes.grid, self.sizes.grid, self.sizes.channels)
        with self._quietly():
            loss = self.model(
                [
                    [ids(example.text)]
                    if example.latents is None
                    else [ids(example.text), torch.from_numpy(example.latents).view(grid)]
                    for example in batch
                ]
            )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def _settings(self) -> dict[str, Any]:
        return {
            "max_length": self.sizes.picture_tokens - 1,  # ends behind the picture
            "force_modality_at_start": (0, (self.sizes.grid, self.sizes.grid)),
            "modality_steps": self.sizes.evaluations + 1,
            "cfg_scale": self.sizes.guidance,
            "return_without_prompt": True,
        }

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Without progress bars, and in bf16 where asked for."""
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=self.reduced)
        with contextlib.redirect_stderr(io.StringIO()), autocast:
            yield


def installed() -> bool:
    return importlib.util.find_spec("transfusion_pytorch") is not None


def ids(text: str) -> Tensor:
    return torch.tensor(list(text.encode()))


def packed(documents: Sequence[Document]) -> list[list[Document]]:
    """Rows with the least padding, up to twice as long as the longest document."""
    longest = max(map(document_length, documents))
    tried = (first_fit(documents, length=longest + extra) for extra in range(0, longest, 16))
    return min(tried, key=lambda rows: len(rows) * max(map(_length, rows)))


def first_fit(documents: Sequence[Document], *, length: int) -> list[list[Document]]:
    """Rows of at most `length` tokens, the longest documents first."""
    rows: list[list[Document]] = []
    for document in sorted(documents, key=document_length, reverse=True):
        for row in rows:
            if _length(row) + document_length(document) <= length:
                row.append(document)
                break
        else:
            rows.append([document])
    return rows


def _length(row: Sequence[Document]) -> int:
    return sum(map(document_length, row))


Seconds = dict[tuple[str, str], list[float]]
"""What each contender (side, precision) took in each round."""

Sides = Sequence[tuple[str, int]]
"""Two sides to be compared, and how many units of work each does in a round."""


def in_turns(contenders: dict[tuple[str, str], Callable[[], Any]], *, rounds: int) -> Seconds:
    """Runs all of them in each round, after one round that does not count."""
    seconds: Seconds = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Seconds a unit of work in each round, on both sides."""

    sizes: str
    what: str
    precision: str
    unit: str
    wanted: float
    ours: list[float]
    theirs: list[float]
    times_faster: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        ratios = sorted(b / a for a, b in zip(self.ours, self.theirs, strict=True))
        found = {"median": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
        object.__setattr__(self, "times_faster", found)

    def line(self) -> str:
        """A row of the table."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        if self.unit == "s a token":
            cells = f"{1 / ours:,.0f} tokens/s | {1 / theirs:,.0f} tokens/s"
        else:
            cells = f"{ours:.2f} s | {theirs:.2f} s"
        ratio = self.times_faster
        spread = f"{ratio['lowest']:.1f} to {ratio['highest']:.1f}"
        head = f"| {self.sizes} | {self.what} | {self.precision} | {cells} "
        return head + f"| **{ratio['median']:.1f}** | {spread} | {self.wanted:g} |"


TABLE = (
    "| sizes | what | precision | ours | theirs | times faster | lowest to highest | wanted |\n"
    "|---|---|---|---|---|---|---|---|"
)


def compare(
    name: str, sizes: Sizes, *, rounds: int, report: Callable[[Comparison], None]
) -> dict[str, int]:
    """All comparisons at one size, each reported when it is done; the parameters of both models."""
    torch.manual_seed(0)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    ours = {key: Ours(sizes, dtype) for key, dtype in dtypes.items()}
    theirs = {key: Theirs(sizes, dtype) for key, dtype in dtypes.items()}
    midpoint = {key: Theirs(sizes, dtype, method="midpoint") for key, dtype in dtypes.items()}
    rng = np.random.default_rng(1)
    prompts = random_texts(rng.integers(*sizes.captions, sizes.pictures).tolist(), rng)

    middle = sorted(prompts, key=len)[len(prompts) // 2]

    def reported(what: str, unit: str, wanted: float, seconds: Seconds, sides: Sides) -> None:
        for precision in dtypes:
            ours, theirs = (
                [second / units for second in seconds[side, precision]] for side, units in sides
            )
            comparison = Comparison(
                sizes=name,
                what=what,
                precision=precision,
                unit=unit,
                wanted=wanted,
                ours=ours,
                theirs=theirs,
            )
            report(comparison)

    for lengths in ("equal", "mixed"):
        batch = examples(sizes, mixed=lengths == "mixed")
        tokens = sum(example.tokens for example in batch)
        seconds = in_turns(
            {
                (side, precision): partial(model.train_step, batch)
                for precision in dtypes
                for side, model in (("ours", ours[precision]), ("theirs", theirs[precision]))
            },
            rounds=rounds,
        )
        what = f"training, documents of {lengths} length"
        sides = (("ours", tokens), ("theirs", tokens))
        reported(what, "s a token", WANTED["training"], seconds, sides)
    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    for precision in dtypes:
        runs["ours", precision] = partial(ours[precision].generate, prompts)
        runs["sample_many", precision] = partial(theirs[precision].generate, prompts)
        runs["midpoint", precision] = partial(midpoint[precision].generate, prompts)
        runs["sample_one", precision] = partial(theirs[precision].generate_one, middle)
    seconds = in_turns(runs, rounds=rounds)
    count = len(prompts)
    for side, units, call, solver in (
        ("sample_many", count, "sample_many", ""),
        ("midpoint", count, "sample_many", f" by midpoint, {sizes.evaluations} steps as ours"),
        ("sample_one", 1, "sample_one", ""),
    ):
        what = f"a picture of {count}, against `{call}`{solver}"
        reported(what, "s a picture", WANTED[call], seconds, (("ours", count), (side, units)))
    models = {"ours": ours["fp32"].model, "theirs": theirs["fp32"].model}
    return {side: sum(p.numel() for p in model.parameters()) for side, model in models.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--record", type=Path, default=RECORD)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    comparisons: list[Comparison] = []

    def report(comparison: Comparison) -> None:
        comparisons.append(comparison)
        print(comparison.line(), flush=True)

    print(TABLE, flush=True)
    parameters = {
        name: compare(name, SIZES[name], rounds=arguments.rounds, report=report)
        for name in arguments.sizes
    }
    record = {
        "hardware": {"processor": processor(), "threads": torch.get_num_threads()},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", PEER, "torchdiffeq")},
        },
        "rounds": arguments.rounds,
        "sizes": {
            name: {**asdict(SIZES[name]), "hidden": SIZES[name].hidden, "parameters": counts}
            for name, counts in parameters.items()
        },
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    arguments.record.parent.mkdir(parents=True, exist_ok=True)
    arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
