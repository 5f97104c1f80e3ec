"""From graded questions of the world to families, groups and their mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unimm_eval import stats
from unimm_eval.api import Metric
from unimm_eval.tasks.vqa16.mini_rules import Graded, chance_of
from unimm_eval.tasks.vqa16.units import mme_score

GROUPS = {
    "general": "General",
    "knowledge": "Knowledge",
    "ocr_chart": "OCR & Chart",
    "vision_centric": "Vision-centric",
}
"""Metric of each of Cambrian's four groups."""

_STRATA: Mapping[str, tuple[str, ...]] = {"cvbench2d": ("cvbench2d counts", "cvbench2d relations")}
"""Families whose accuracy is a mean of two, as CV-Bench 2D's is of its two sources."""


@dataclass(frozen=True, kw_only=True)
class Family:
    name: str
    group: str


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """What is right or wrong as a whole; `value` is None where a question could not be scored."""

    family: str
    stratum: str
    cluster: str
    size: int
    held_out: bool
    value: float | None
    chance: float


def summarize_families(graded: Sequence[Graded], families: Sequence[Family]) -> list[Metric]:
    """Mean, the same on held-out pictures, groups, families: those of which nothing is missing."""
    units = _units(graded)
    seen = [unit for unit in units if not unit.held_out]
    held_out = [unit for unit in units if unit.held_out]
    every = [family.name for family in families]
    in_group = {
        metric: [family.name for family in families if family.group == title]
        for metric, title in GROUPS.items()
    }
    metrics = [
        _mean("mean", seen, every),
        _mean("mean_held_out", held_out, every),
        *(_mean(metric, seen, names) for metric, names in in_group.items()),
        *(_mean(name, seen, [name]) for name in every),
    ]
    return [metric for metric in metrics if metric is not None]


def _units(graded: Sequence[Graded]) -> list[_Unit]:
    """Whole units: one that a limit cut in two is left out."""
    members: dict[str, list[Graded]] = {}
    for question in graded:
        members.setdefault(question.inputs["unit"], []).append(question)
    return [_unit(found) for found in members.values() if len(found) == found[0].inputs["of"]]


def _unit(members: Sequence[Graded]) -> _Unit:
    first = members[0]
    family = first.inputs["family"]
    values = [member.value for member in members if member.value is not None]
    value: float | None = None
    if len(values) == len(members):
        right = float(all(each == 1.0 for each in values))
        value = values[0] if len(values) == 1 else right
        value = mme_score(values) if family == "mme" else value
    stratum = family
    if family in _STRATA:
        counts, relations = _STRATA[family]
        stratum = counts if first.inputs["question"].startswith("how many") else relations
    return _Unit(
        family=family,
        stratum=stratum,
        cluster=first.cluster,
        size=len(members),
        held_out=first.inputs["held_out"],
        value=value,
        chance=chance_of(members),
    )


def _mean(name: str, units: Sequence[_Unit], families: Sequence[str]) -> Metric | None:
    """Unweighted mean over `families`; None if one of them, or a stratum, has no scored unit."""
    mine = [unit for unit in units if unit.family in families]
    kept = [(unit, unit.value) for unit in mine if unit.value is not None]
    weights = {
        stratum: 1 / len(strata)
        for family in families
        for strata in [_STRATA.get(family, (family,))]
        for stratum in strata
    }
    if {unit.stratum for unit, _ in kept} != set(weights):
        return None
    strata = [unit.stratum for unit, _ in kept]
    clusters = [unit.cluster for unit, _ in kept]
    estimate = stats.macro_mean([value for _, value in kept], strata, clusters, weights=weights)
    chance = stats.macro_mean([unit.chance for unit, _ in kept], strata, clusters, weights=weights)
    return estimate.metric(
        name,
        unscored=sum(unit.size for unit in mine if unit.value is None),
        chance=chance.value,
    )
