"""GenEval's aggregation: means of tags, and their mean; missing tags are told."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Metric, Sample, Score
from unimm_eval.tasks.geneval.prompts import TAGS

Pair = tuple[Sample, Score]


def summary(
    pairs: Sequence[Pair],
    *,
    extra: Sequence[Metric | None] = (),
    facts: Mapping[str, Any] | None = None,
) -> list[Metric]:
    """`overall`, `extra`, the six tags, `images` and `prompts`, as far as they can be had; `facts`
    join those of each.

    An overall score is made only of all its tags: with one missing (under `limit`, or with no
    scored picture) it is left out, and `images` says which.
    """
    tags = {tag: mean_of_tags(tag, pairs, [tag]) for tag in TAGS}
    missing = [tag for tag, metric in tags.items() if metric is None]
    metrics = [
        mean_of_tags("overall", pairs, TAGS),
        *extra,
        *tags.values(),
        *over_images_and_prompts(pairs, missing),
    ]
    return [
        replace(metric, facts={**metric.facts, **(facts or {})})
        for metric in metrics
        if metric is not None
    ]


def mean_of_tags(name: str, pairs: Sequence[Pair], tags: Sequence[str]) -> Metric | None:
    """Unweighted mean of the tags' shares of correct images; None if a tag has no scored image."""
    mine = [pair for pair in pairs if pair[0].inputs["tag"] in tags]
    kept = [pair for pair in mine if pair[1].unscored is None]
    if {sample.inputs["tag"] for sample, _ in kept} != set(tags):
        return None
    return stats.macro_mean(
        [score.values["correct"] for _, score in kept],
        [sample.inputs["tag"] for sample, _ in kept],
        [sample.cluster for sample, _ in kept],
    ).metric(name, unscored=len(mine) - len(kept), chance=0.0)


def over_images_and_prompts(pairs: Sequence[Pair], missing: Sequence[str]) -> list[Metric]:
    """Share of correct images, and of prompts with any correct image, over all tags."""
    kept = [pair for pair in pairs if pair[1].unscored is None]
    if not kept:
        return []
    verdicts = [score.values["correct"] for _, score in kept]
    clusters = [sample.cluster for sample, _ in kept]
    best: dict[str, float] = {}
    for cluster, verdict in zip(clusters, verdicts, strict=True):
        best[cluster] = max(verdict, best.get(cluster, 0.0))
    unscored = len(pairs) - len(kept)
    return [
        stats.clustered_mean(verdicts, clusters).metric(
            "images",
            unscored=unscored,
            chance=0.0,
            facts={"missing_tags": list(missing)} if missing else {},
        ),
        stats.clustered_mean(list(best.values()), list(best)).metric(
            "prompts", unscored=unscored, chance=0.0
        ),
    ]
