"""From the features of scores to a distance with its interval."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm_eval import stats
from unimm_eval.api import Metric, Sample, Score, UserError
from unimm_eval.tasks.fid.frechet import (
    Statistics,
    frechet_distance,
    resampled_distances,
    statistics_of,
)

FEATURES = "features"
"""Name of the array of a score."""


def distance_metric(
    name: str,
    samples: Sequence[Sample],
    scores: Sequence[Score],
    reference: Statistics,
    *,
    resamples: int,
    chance: float | None = None,
    facts: Mapping[str, Any],
) -> Metric | None:
    """Distance of all scored pictures from `reference`; None when there are none.

    The interval is of a bootstrap over clusters (all pictures of a prompt are drawn together), of
    `resamples` draws with the reference held fixed. Drawn sets repeat pictures, so their distances
    are larger than the one they are drawn from; the interval is therefore the spread of the draws
    about their own mean, put around the distance itself. Raises UserError when features are not
    there.
    """
    pairs = [pair for pair in zip(samples, scores, strict=True) if pair[1].unscored is None]
    if not pairs:
        return None
    features_ND = _gathered([score for _, score in pairs])
    clusters = [sample.cluster for sample, _ in pairs]
    value = frechet_distance(statistics_of(features_ND), reference)
    stderr = interval = None
    if len(set(clusters)) > 1 and stats.errors_wanted():
        draws = resampled_distances(
            features_ND,
            clusters,
            reference,
            resamples=resamples,
            seed=stats.BOOTSTRAP_SEED,
        )
        tail = (1 - stats.CONFIDENCE) / 2
        low, high = np.quantile(draws, [tail, 1 - tail]) - draws.mean()
        stderr = float(draws.std(ddof=1))
        interval = (max(0.0, value + min(0.0, float(low))), value + max(0.0, float(high)))
    return Metric(
        name=name,
        value=value,
        stderr=stderr,
        interval=interval,
        n=len(pairs),
        unscored=len(samples) - len(pairs),
        chance=chance,
        facts={
            "clusters": len(set(clusters)),
            "bootstrap_resamples": resamples,
            "reference_pictures": reference.n,
            **facts,
        },
    )


def _gathered(scores: Sequence[Score]) -> np.ndarray:
    """Features [N, D] float32 in a file that vanishes with the process: they are gone through once
    a draw, and need not fit in memory."""
    missing = [score for score in scores if FEATURES not in score.arrays]
    if missing:
        raise UserError(
            f"The features of {len(missing)} pictures are not in the store of the run.",
            fix="Judge them in another folder (--output), or remove this one.",
        )
    (size,) = scores[0].arrays[FEATURES].shape
    with tempfile.TemporaryFile() as file:
        gathered = np.memmap(file, dtype=np.float32, mode="w+", shape=(len(scores), size))
    for row, score in enumerate(scores):
        gathered[row] = score.arrays[FEATURES]
    return gathered
