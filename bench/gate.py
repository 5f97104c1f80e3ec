"""How often the gate is wrong, and how often it sees what it promises to see: on simulated runs.

    python -m bench.gate

draws pairs of checkpoints whose truth is known, puts them through the gate's own statistics and
rules, prints a Markdown table and writes `results/bench/gate.json`. Each gate has `TASKS` tasks of
one kind. Three truths are drawn:

* nothing changed: how often any task fails (false alarms, at most 5%);
* one task is worse by the smallest effect that the gate says it finds: how often it fails (80%);
* one task is worse by the margin: how often it passes nevertheless (at most 5%).

Samples come in clusters that share a difficulty, for both checkpoints.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np

from unimm_eval.engine.changes import MetricChange
from unimm_eval.gate.rules import ALPHA, POWER, rule
from unimm_eval.stats.pairs import IntArray, change_of, independent_outputs, jackknife

RECORD = Path(__file__).parents[1] / "results" / "bench" / "gate.json"
SEED = 20_261_123
TASKS = 5
PILOT = 200
"""Pairs that the error of a scenario is taken from."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Tasks of `clusters` × `size` samples.

    verdicts: right with probability drawn by cluster from a beta law of mean `level`;
    measurements: log-normal losses, summed up as a mean; ratios: nats over tokens of documents of
    very different lengths, lower is better. `same` is the probability that both checkpoints say
    the same, as neighbours in training do.
    """

    name: str
    kind: Literal["verdicts", "measurements", "ratios"]
    clusters: int
    size: int
    level: float = 0.5
    same: float = 0.0


SCENARIOS = (
    Scenario(name="verdicts", kind="verdicts", clusters=200, size=4),
    Scenario(name="verdicts, few clusters", kind="verdicts", clusters=30, size=4),
    Scenario(name="verdicts near 1", kind="verdicts", clusters=200, size=1, level=0.97),
    Scenario(name="verdicts, mostly the same", kind="verdicts", clusters=150, size=2, same=0.95),
    Scenario(name="heavy-tailed losses", kind="measurements", clusters=100, size=3),
    Scenario(name="ratios", kind="ratios", clusters=80, size=1),
)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What came out of `gates` gates a truth; shares."""

    scenario: Scenario
    gates: int
    error: float
    smallest_effect: float
    false_alarms: float
    power: float
    wrong_passes: float


def simulate(scenario: Scenario, rng: np.random.Generator, *, worse: float = 0.0) -> MetricChange:
    """One task of a pair of checkpoints, of which the second is truly worse by `worse`."""
    shape = (scenario.clusters, scenario.size)
    clusters = [f"c{index}" for index in range(scenario.clusters) for _ in range(scenario.size)]
    if scenario.kind == "verdicts":
        strength = 4.0
        right = rng.beta(
            strength * scenario.level, strength * (1 - scenario.level), (scenario.clusters, 1)
        )
        a = (rng.random(shape) < right).astype(float).ravel()
        b = (rng.random(shape) < right).astype(float).ravel()
        b = np.where(rng.random(b.shape) < scenario.same, a, b)
        b *= rng.random(b.shape) >= worse / scenario.level
        weights, gain, width = np.ones(a.shape), 1.0, 1.0
    else:
        difficulty = rng.normal(0, 0.5, (scenario.clusters, 1))
        a, b = (np.exp(difficulty + rng.normal(0, 0.4, shape)).ravel() for _ in range(2))
        weights = rng.lognormal(4, 1, a.shape) if scenario.kind == "ratios" else np.ones(a.shape)
        b = b + worse
        gain, width = -1.0, None
    totals = weights * b - weights * a

    def differences(keep: IntArray) -> dict[str, float]:
        return {"value": float(totals[keep].sum() / weights[keep].sum())}

    everything = np.arange(len(a))
    stderr, df = jackknife(differences, clusters)["value"]
    return MetricChange(
        metric="value",
        headline=True,
        direction="higher" if gain > 0 else "lower",
        unit="",
        a=float(a.mean()),
        b=float(b.mean()),
        n=len(a),
        change=change_of(
            differences(everything)["value"],
            stderr=stderr,
            df=df,
            clusters=scenario.clusters,
            paired=True,
            width=width,
            independent=independent_outputs(list(b - a), clusters),
        ),
    )


def gates(
    scenario: Scenario, rng: np.random.Generator, count: int, *, worse: float, margin: float
) -> Iterator[dict[str, str]]:
    """Verdicts by task of `count` gates; the first task is worse by `worse`, the others are not."""
    for _ in range(count):
        changes = {
            f"task{index}": simulate(scenario, rng, worse=worse if index == 0 else 0.0)
            for index in range(TASKS)
        }
        rulings = rule(changes, dict.fromkeys(changes, margin))
        yield {task: ruling.verdict for task, ruling in rulings.items()}


def measure(scenario: Scenario, *, count: int, seed: int = SEED) -> Rates:
    """Rates of one scenario. Its margin is the smallest effect by the error that its gates have
    (root mean square)."""
    rng = np.random.default_rng(seed)
    pilot = [simulate(scenario, rng).change for _ in range(PILOT)]
    error = math.sqrt(fmean(change.spread**2 for change in pilot if change.spread is not None))
    effects = [change.smallest_effect(alpha=ALPHA / TASKS, power=POWER) for change in pilot]
    smallest = math.sqrt(fmean(effect**2 for effect in effects if effect is not None))
    null = gates(scenario, rng, count, worse=0.0, margin=smallest)
    alarms = sum("fail" in verdicts.values() for verdicts in null)
    at_smallest = Counter(
        verdicts["task0"]
        for verdicts in gates(scenario, rng, count, worse=smallest, margin=smallest)
    )
    return Rates(
        scenario=scenario,
        gates=count,
        error=error,
        smallest_effect=smallest,
        false_alarms=alarms / count,
        power=at_smallest["fail"] / count,
        wrong_passes=at_smallest["pass"] / count,
    )


def table(rates: list[Rates]) -> str:
    """Markdown: one row a scenario."""
    lines = [
        "| simulated tasks | clusters × samples | error | smallest effect | false alarms "
        "| fails at the smallest effect | passes at the margin |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.scenario.name} | {row.scenario.clusters} × {row.scenario.size} | {row.error:.4f} "
        f"| {row.smallest_effect:.4f} | {row.false_alarms:.1%} | {row.power:.1%} "
        f"| {row.wrong_passes:.1%} |"
        for row in rates
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=1000, help="gates of each truth")
    arguments = parser.parse_args()
    rates = [measure(scenario, count=arguments.gates) for scenario in SCENARIOS]
    print(table(rates))
    document = {"seed": SEED, "tasks": TASKS, "alpha": ALPHA, "power": POWER}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    rows = {"scenarios": [asdict(row) for row in rates]}
    RECORD.write_text(json.dumps(document | rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
