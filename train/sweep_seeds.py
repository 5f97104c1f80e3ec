"""A study with several seeds: each choice's mean loss, and what differs between choices.

Runs of one seed see the same rows, so choices are compared seed by seed. Intervals are 95% of
Student's t over the seeds: they say what another seed of weights and data would change, not what
other held-out documents would, which are the same for all runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from unimm_eval.stats import Estimate, clustered_mean, paired_difference
from unimm_eval.train.sweep import Sweep

SEED = "seed"
FEWEST = 2
"""Seeds that an interval needs."""

Verdict = Literal[
    "as in the paper",
    "as in the paper, within noise",
    "the other way round, within noise",
    "the other way round",
]


@dataclass(frozen=True, kw_only=True)
class Step:
    """How much higher the loss of `higher` is than that of `lower`, which the paper has lower."""

    lower: str
    higher: str
    difference: Estimate
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One modality: the loss of each choice, and the steps of the order that the paper reports."""

    modality: str
    losses: Mapping[str, Estimate]
    values: Mapping[str, Mapping[str, float]]
    steps: tuple[Step, ...]

    @property
    def reproduced(self) -> bool:
        """Whether every step is the paper's, its interval off zero."""
        return bool(self.steps) and all(step.verdict == "as in the paper" for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "reproduced": self.reproduced}


def compare_seeds(sweep: Sweep, rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """A comparison for each modality whose choices all have two seeds or more; `rows` are those of
    runs.json. None for a study without an axis of seeds."""
    values: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        labels = dict(row["labels"])
        seed = labels.pop(SEED, None)
        if seed is None:
            return []
        for modality, held_out in row["held_out"].items():
            choices = values.setdefault(modality, {})
            choices.setdefault("-".join(labels.values()), {})[seed] = held_out["loss"]
    found = []
    for modality, choices in values.items():
        if min(map(len, choices.values())) < FEWEST:
            continue
        losses = {
            choice: clustered_mean(list(by_seed.values()), list(by_seed))
            for choice, by_seed in choices.items()
        }
        order = [choice for choice in sweep.lowest_first if choice in choices]
        steps = [_step(choices, lower, higher) for lower, higher in pairwise(order)]
        found.append(
            Comparison(
                modality=modality,
                losses=losses,
                values=choices,
                steps=tuple(step for step in steps if step is not None),
            )
        )
    return found


def interval_of(estimate: Estimate) -> tuple[float, float]:
    """Every estimate here is over two seeds or more, and so has one."""
    assert estimate.interval is not None
    return estimate.interval


def _step(choices: Mapping[str, Mapping[str, float]], lower: str, higher: str) -> Step | None:
    """None where fewer than two seeds have both."""
    both = sorted(choices[lower].keys() & choices[higher].keys())
    if len(both) < FEWEST:
        return None
    high, low = ([choices[choice][seed] for seed in both] for choice in (higher, lower))
    difference = paired_difference(high, low, both)
    low_end, high_end = interval_of(difference)
    verdict: Verdict
    if low_end > 0:
        verdict = "as in the paper"
    elif high_end < 0:
        verdict = "the other way round"
    else:
        with_it = difference.value > 0
        verdict = (
            "as in the paper, within noise" if with_it else "the other way round, within noise"
        )
    return Step(lower=lower, higher=higher, difference=difference, verdict=verdict)


def draw_seeds(path: Path, comparisons: Sequence[Comparison], *, title: str) -> None:
    """A panel a modality: the loss of each seed, the mean of each choice and its interval."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(comparisons), 3.4), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for panel, one in zip(panels, comparisons, strict=True):
        for place, (choice, estimate) in enumerate(one.losses.items()):
            seeds = list(one.values[choice].values())
            panel.scatter([place - 0.12] * len(seeds), seeds, s=16, color="#9db8d9", zorder=2)
            low, high = interval_of(estimate)
            panel.errorbar(
                place,
                estimate.value,
                yerr=[[estimate.value - low], [high - estimate.value]],
                fmt="o",
                color="#1f4e89",
                markersize=5,
                capsize=3,
            )
        panel.set_xticks(range(len(one.losses)), list(one.losses))
        panel.set_xlim(-0.5, len(one.losses) - 0.5)
        panel.set_title(f"{one.modality}: held-out loss", fontsize=10)
        panel.grid(axis="y", alpha=0.3, linewidth=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
