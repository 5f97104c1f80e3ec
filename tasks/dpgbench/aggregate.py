"""From pictures' answers to DPG-Bench's numbers: the overall score and its categories."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Metric
from unimm_eval.tasks.dpgbench.graph import Question, asked_about

BROAD = ("entity", "attribute", "relation", "global", "other")
DETAILED = (
    "entity - whole",
    "entity - part",
    "entity - state",
    "attribute - color",
    "attribute - shape",
    "attribute - size",
    "attribute - texture",
    "attribute - other",
    "relation - spatial",
    "relation - non-spatial",
    "other - count",
    "other - text",
)
"""Those of the official table; its thirteenth, "global -", holds the same questions as "global"."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One picture: the prompt as its cluster, the questions asked about it, and what came of it.

    `answers` are those before zeroing, by id. `score` is None where the picture is not in the
    number.
    """

    cluster: str
    questions: Sequence[Question]
    answers: Mapping[int, bool | None]
    score: float | None


def overall(
    name: str,
    pictures: Sequence[Judged],
    *,
    chance: float | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Metric | None:
    """Mean score of the pictures, clustered by prompt; None without any."""
    kept = [each for each in pictures if each.score is not None]
    if not kept:
        return None
    return stats.clustered_mean(
        [each.score for each in kept if each.score is not None], [each.cluster for each in kept]
    ).metric(name, unscored=len(pictures) - len(kept), chance=chance, facts=facts)


def categories(
    pictures: Sequence[Judged],
    *,
    chances: Mapping[str, float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Metric]:
    """Share of questions answered yes, before zeroing, in each category of which there are any.

    A question counts as unscored where its picture does, and where it got no answer.
    """
    values: dict[str, list[float]] = defaultdict(list)
    clusters: dict[str, list[str]] = defaultdict(list)
    unscored: Counter[str] = Counter()
    for each in pictures:
        for question in each.questions:
            answer = None if each.score is None else each.answers[question["id"]]
            for name in dict.fromkeys(asked_about(question)):
                if answer is None:
                    unscored[name] += 1
                else:
                    values[name].append(float(answer))
                    clusters[name].append(each.cluster)
    return [
        stats.clustered_mean(values[name], clusters[name]).metric(
            name, unscored=unscored[name], chance=(chances or {}).get(name), facts=facts
        )
        for name in (*BROAD, *DETAILED)
        if name in values
    ]


def of_no_category(questions: Iterable[Question]) -> dict[str, int]:
    """How many questions have a category that is none of the official ones, by that category."""
    known = {*BROAD, *DETAILED, "global -"}
    found = (asked_about(question)[1] for question in questions)
    return dict(sorted(Counter(name for name in found if name not in known).items()))
