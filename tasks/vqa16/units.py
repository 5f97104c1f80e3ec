"""From graded questions to numbers: questions alone, in pairs, or in all rotations of options.

A unit is what is right or wrong as a whole. Under `--limit` the last unit may be cut; what is not
whole is in no number, and counted. A unit with a question that could not be scored is left out,
too: to decide it by the others would count those that are surely wrong and drop those that may be
right.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Metric


@dataclass(frozen=True, kw_only=True)
class Question:
    """One graded question; `value` is None where it could not be scored. `of` questions share
    `unit`. `chance` is what a uniform guess scores, where that is known."""

    value: float | None
    cluster: str
    unit: str = ""
    of: int = 1
    stratum: str = ""
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is scored as one."""

    value: float
    cluster: str
    stratum: str
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Units:
    """Whole units, and how many were left out because they were cut or could not be scored."""

    whole: list[Unit]
    cut: int
    unscored: int


def questions_alone(questions: Sequence[Question]) -> Units:
    """Every question for itself."""
    scored = [
        Unit(value=q.value, cluster=q.cluster, stratum=q.stratum, chance=q.chance)
        for q in questions
        if q.value is not None
    ]
    return Units(whole=scored, cut=0, unscored=len(questions) - len(scored))


def all_right(questions: Sequence[Question]) -> Units:
    """Units in which every question must be right: MMBench's rotations, MMVP's pairs."""
    return _together(questions, lambda values: float(all(value == 1.0 for value in values)))


def mme_score(values: Sequence[float]) -> float:
    """MME of one picture from 0 to 1: (accuracy + whether both are right) / 2."""
    return (sum(values) / len(values) + float(all(value == 1.0 for value in values))) / 2


def mme_pairs(questions: Sequence[Question]) -> Units:
    """Pictures with a question whose answer is yes and one whose answer is no."""
    return _together(questions, mme_score)


Rule = Callable[[Sequence[float]], float]
"""Score of a unit from those of its questions."""


def _together(questions: Sequence[Question], score: Rule) -> Units:
    members: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        members[question.unit].append(question)
    whole: list[Unit] = []
    cut = unscored = 0
    for found in members.values():
        values = [question.value for question in found if question.value is not None]
        if len(found) != found[0].of:
            cut += 1
        elif len(values) != len(found):
            unscored += len(found)
        else:
            whole.append(
                Unit(
                    value=score(values),
                    cluster=found[0].cluster,
                    stratum=found[0].stratum,
                    chance=_chance(found, score),
                )
            )
    return Units(whole=whole, cut=cut, unscored=unscored)


def _chance(members: Sequence[Question], score: Rule) -> float | None:
    """Expected score of independent guesses, over all ways in which they can be right."""
    chances = [question.chance for question in members if question.chance is not None]
    if len(chances) != len(members):
        return None
    total = 0.0
    for way in range(2 ** len(chances)):
        hits = [float(way >> place & 1) for place in range(len(chances))]
        weight = 1.0
        for hit, chance in zip(hits, chances, strict=True):
            weight *= chance if hit else 1.0 - chance
        total += weight * score(hits)
    return total


def mean_of(
    name: str,
    units: Units,
    *,
    scale: float = 100.0,
    strata: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Metric | None:
    """Mean of units times `scale`, its error clustered; with `strata`, the mean of their means.

    None where nothing was scored, or a stratum has nothing: no mean is made of what is left. The
    facts say what the error would be if questions about one picture were independent.
    """
    chosen = [unit for unit in units.whole if not strata or unit.stratum in strata]
    if not chosen or {unit.stratum for unit in chosen} < set(strata):
        return None
    values = [unit.value for unit in chosen]
    groups = [unit.stratum if strata else "" for unit in chosen]
    estimate = stats.macro_mean(values, groups, [unit.cluster for unit in chosen])
    naive = stats.macro_mean(values, groups, [str(place) for place in range(len(chosen))])
    chances = [unit.chance for unit in chosen if unit.chance is not None]
    chance = None
    if len(chances) == len(chosen):
        chance = scale * stats.macro_mean(chances, groups, [unit.cluster for unit in chosen]).value
    more: dict[str, Any] = {"clusters": estimate.clusters}
    if naive.stderr is not None:
        more["stderr_if_unclustered"] = scale * naive.stderr
    if units.cut:
        more["units_cut_by_the_limit"] = units.cut
    return Metric(
        name=name,
        value=scale * estimate.value,
        stderr=None if estimate.stderr is None else scale * estimate.stderr,
        interval=None
        if estimate.interval is None
        else (scale * estimate.interval[0], scale * estimate.interval[1]),
        n=estimate.n,
        unscored=units.unscored,
        chance=chance,
        facts={**more, **(facts or {})},
    )
