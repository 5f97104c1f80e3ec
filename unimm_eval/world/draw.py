"""Seeded draws: one random stream for each (split, purpose, index), and cheap picks from it.

The streams of different splits come from different seed sequences, so no draw of one split is
ever repeated in another. The helpers use only `Generator.random`, which is ten times faster for
single numbers than `integers` or `choice`.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar
from zlib import crc32

import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

T = TypeVar("T")


def rng_for(*, split: Split, purpose: str, index: int = 0) -> np.random.Generator:
    """The random stream of sample `index` of `purpose` in `split`; equal arguments, equal draws."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; one of {', '.join(SPLITS)}")
    entropy = [SPLITS.index(split), crc32(purpose.encode()), index]
    return np.random.default_rng(np.random.SeedSequence(entropy))


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, uniformly."""
    return options[int(rng.random() * len(options))]


def pick_some(rng: np.random.Generator, options: Sequence[T], k: int) -> list[T]:
    """`k` different members of `options` in random order (partial Fisher-Yates)."""
    rest = list(options)
    if k > len(rest):
        raise ValueError(f"cannot pick {k} of {len(rest)} options")
    for i in range(k):
        j = i + int(rng.random() * (len(rest) - i))
        rest[i], rest[j] = rest[j], rest[i]
    return rest[:k]


def coin(rng: np.random.Generator, p: float = 0.5) -> bool:
    """True with probability `p`."""
    return bool(rng.random() < p)
