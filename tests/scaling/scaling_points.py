"""Runs of known additive laws L = E + A/N^α + B/D^β at fixed compute C = 6·N·D."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Additive:
    """Its best sizes, tokens and losses are known: a = β/(α+β), b = α/(α+β), α_C = αβ/(α+β)."""

    e: float = 1.69
    a: float = 406.4
    b: float = 410.7
    alpha: float = 0.34
    beta: float = 0.30

    @property
    def exponents(self) -> dict[str, float]:
        total = self.alpha + self.beta
        return {
            "a": self.beta / total,
            "b": self.alpha / total,
            "alpha": self.alpha * self.beta / total,
        }

    def best_size(self, flops: float) -> float:
        scale = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        return float(scale * (flops / 6) ** self.exponents["a"])

    def loss(self, size: float, tokens: float) -> float:
        return float(self.e + self.a * size**-self.alpha + self.b * tokens**-self.beta)


LANGUAGE = Additive()
VISION = Additive(e=0.42, a=60.0, b=300.0, alpha=0.44, beta=0.26)


def rows(
    law: Additive,
    *,
    budgets: int = 6,
    sizes: int = 7,
    span: float = 8.0,
    noise: float = 0.0,
    jitter: float = 0.0,
    seed: int = 0,
    experts: float = 1.0,
    **names: str,
) -> list[dict[str, str]]:
    """Rows of a CSV file; `jitter` moves the sizes of each budget by up to e^±jitter."""
    rng = np.random.default_rng(seed)
    made = []
    for flops in np.geomspace(1e18, 1e21, budgets):
        moved = law.best_size(flops) * np.exp(rng.uniform(-jitter, jitter))
        for size in np.geomspace(moved / span, moved * span, sizes):
            tokens = flops / 6 / size
            loss = law.loss(size, tokens) * (1 + noise * rng.standard_normal())
            values = {"flops": flops, "params": size * experts, "tokens": tokens, "loss": loss}
            texts = {name: repr(float(value)) for name, value in values.items()}
            made.append({**texts, **names, "active_params": repr(float(size))})
    return made


def write(path: Path, made: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, made[0])
        writer.writeheader()
        writer.writerows(made)
    return path
