"""Errors of numbers that only lmms-eval's aggregators can make."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Metric

GROUPS = 40
"""Groups of clusters of the jackknife: aggregators of thousands of rows take a second each."""


def metric(
    name: str, found: Mapping[str, Any], *, unscored: int, facts: Mapping[str, Any]
) -> Metric:
    """A number of lmms-eval's with its error: clustered where it is a plain mean, else by a
    jackknife that leaves out one group of clusters at a time."""
    stderr, interval, how = None, None, {}
    if found["each"] is not None:
        values = [float(value) for value in found["each"]["values"]]
        estimate = stats.clustered_mean(values, found["each"]["clusters"])
        stderr, interval = estimate.stderr, estimate.interval
        how = {"clusters": estimate.clusters}
    elif None not in found["without"] and len(found["without"]) > 1:
        stderr = jackknife(found["without"])
        reach = stats.t_quantile(len(found["without"]) - 1) * stderr
        interval = (found["value"] - reach, found["value"] + reach)
        how = {"jackknife_groups": len(found["without"])}
    return Metric(
        name=name,
        value=found["value"],
        stderr=stderr,
        interval=interval,
        n=found["n"],
        unscored=unscored,
        facts={**how, **facts},
    )


def jackknife(without: Sequence[float]) -> float:
    """Standard error from the values with each of G groups left out: √((G−1)/G·Σ(θ₍g₎−θ̄)²)."""
    mean = sum(without) / len(without)
    squares = math.fsum((value - mean) ** 2 for value in without)
    return math.sqrt((len(without) - 1) / len(without) * squares)
