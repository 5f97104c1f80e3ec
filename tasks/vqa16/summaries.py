"""Metrics of each kind of benchmark, on Cambrian's scales."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from unimm_eval.api import Metric
from unimm_eval.tasks.vqa16.units import (
    Question,
    all_right,
    mean_of,
    mme_pairs,
    questions_alone,
)

Facts = Mapping[str, Any]
Summary = Callable[[Sequence[Question], Sequence[str], Mapping[str, Any], Facts], list[Metric]]
"""(questions, their categories, settings of the card, facts for the headline) → metrics."""

PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)
_POINTS = 200.0
"""What a category of MME is out of."""


def _questions(
    questions: Sequence[Question],
    categories: Sequence[str],
    settings: Mapping[str, Any],
    facts: Facts,
) -> list[Metric]:
    """Share of questions, or the mean over the card's strata; DocVQA's is called ANLS."""
    name = "anls" if settings["grader"] == "anls" else "accuracy"
    facts = {**facts, **_by_category(questions, categories)}
    strata = settings.get("strata", ())
    return _kept(mean_of(name, questions_alone(questions), strata=strata, facts=facts))


def _circles(
    questions: Sequence[Question],
    categories: Sequence[str],
    settings: Mapping[str, Any],
    facts: Facts,
) -> list[Metric]:
    return _kept(
        mean_of("circular_accuracy", all_right(questions), facts=facts),
        mean_of("accuracy", questions_alone(questions), facts=facts),
    )


def _pairs(
    questions: Sequence[Question],
    categories: Sequence[str],
    settings: Mapping[str, Any],
    facts: Facts,
) -> list[Metric]:
    """The pair is the cluster: its pictures were chosen together."""
    paired = [
        Question(
            value=question.value,
            cluster=f"pair {question.unit}",
            unit=question.unit,
            of=question.of,
            chance=question.chance,
        )
        for question in questions
    ]
    return _kept(
        mean_of("pair_accuracy", all_right(paired), facts=facts),
        mean_of("accuracy", questions_alone(paired), facts=facts),
    )


def _mme(
    questions: Sequence[Question],
    categories: Sequence[str],
    settings: Mapping[str, Any],
    facts: Facts,
) -> list[Metric]:
    """Sum over categories of accuracy + pair accuracy; a sum lacks no category or is not made."""
    units = mme_pairs(questions)
    both = {"perception": PERCEPTION, "cognition": COGNITION}
    return _kept(
        *(
            mean_of(name, units, scale=_POINTS * len(names), strata=names, facts=facts)
            for name, names in both.items()
        )
    )


def _by_category(questions: Sequence[Question], categories: Sequence[str]) -> dict[str, Any]:
    """Accuracy and number of questions of each category, where there are several."""
    values: dict[str, list[float]] = {}
    for question, category in zip(questions, categories, strict=True):
        if question.value is not None:
            values.setdefault(category, []).append(question.value)
    if len(values) < 2:
        return {}
    return {
        "by_category": {
            name: [round(100 * sum(found) / len(found), 4), len(found)]
            for name, found in sorted(values.items())
        }
    }


def _kept(*metrics: Metric | None) -> list[Metric]:
    return [metric for metric in metrics if metric is not None]


SUMMARIES: Mapping[str, Summary] = {
    "question": _questions,
    "circle": _circles,
    "pair": _pairs,
    "mme": _mme,
}
"""By the name that a card gives in `settings.unit`."""
