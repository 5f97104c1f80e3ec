"""From the errors of plans to the rows of the table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm_eval import stats
from unimm_eval.api import Metric, Sample, Score

OWN = ("ate", "rpe", "ate_m", "rpe_m", "position", "yaw", "goal_distance")
COMPARED = ("stand_still", "straight", "best")
"""Baselines that a ratio of ATEs is made with."""
_LEAST = 1e-9
"""Waypoints: a robot that never moved makes an error of nothing by standing still."""


def summary(
    pairs: Sequence[tuple[Sample, Score]], baselines: Sequence[str], *, facts: Mapping[str, Any]
) -> list[Metric]:
    """Means over plans of the planner's errors and of each baseline's, and ratios of mean ATEs,
    errors clustered by trajectory. `chance` is an elite drawn by lot."""
    kept = [pair for pair in pairs if pair[1].unscored is None]
    if not kept:
        return []
    unscored = len(pairs) - len(kept)
    clusters = [sample.cluster for sample, _ in kept]

    def column(name: str) -> list[float]:
        return [score.values[name] for _, score in kept]

    lot = float(np.mean(column("ate_by_lot")))
    names = [*OWN, *(f"{error}_{name}" for name in baselines for error in ("ate", "rpe"))]
    metrics = [
        stats.clustered_mean(column(name), clusters).metric(
            name,
            unscored=unscored,
            chance=lot if name == "ate" else None,
            facts=facts if name in OWN else {},
        )
        for name in names
    ]
    for name in COMPARED:
        below = [max(_LEAST, error) for error in column(f"ate_{name}")]
        estimate = stats.ratio(column("ate"), below, clusters)
        metrics.append(estimate.metric(f"ate_over_{name}", unscored=unscored, facts=facts))
    return metrics
