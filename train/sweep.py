"""A study: one recipe and what is varied in it, expanded to runs with stable names.

    extends: defaults.yaml
    name: ffn
    sweep:
      about: One FFN for all tokens, one for each modality, or experts (Figure 3, appendix C).
      axes:
        ffn:
          shared: {model: {feed_forward: shared}}
          modality: {model: {feed_forward: modality}}
        seed:
          s0: {seed: 0}
          s1: {seed: 1}

Every combination of one value of each axis is a run: its name is the study's and the values' names,
`ffn-shared-s0`, whatever else the study has; its recipe is the file with the changes of each value
laid over it, axis by axis (`inherit.py`). `leave_out` lists combinations that are not run, as
patterns of `shared-s0`; `law` the axes whose values tell scaling laws apart.
"""

import itertools
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from unimm_eval.api import UserError, explain, stable_hash
from unimm_eval.train.budget import resolved
from unimm_eval.train.inherit import laid_over, read_values
from unimm_eval.train.recipe import Recipe, parse_recipe
from unimm_eval.train.toy import at_toy_size

Scale = Literal["paper", "toy"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._]*$")]


class SweepSpec(BaseModel):
    """What a study varies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = Field(description="what is compared, and where the paper has it")
    axes: dict[Name, dict[Name, dict[str, Any]]] = Field(
        min_length=1, description="by name: the values of an axis, by name: fields of the recipe"
    )
    leave_out: tuple[str, ...] = Field((), description="combinations that are not run, as patterns")
    law: tuple[str, ...] = Field(
        (), description="axes whose values tell scaling laws apart, beside dense and moe"
    )
    lowest_first: tuple[str, ...] = Field(
        (), description="choices in the order of the loss that the paper reports, for many seeds"
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a study; `labels` are the names of its values by axis, `arch` what it is called
    in a scaling law, `identity` the hash of its recipe wherever its data lie, `same` are runs that
    are no others at this scale."""

    name: str
    labels: dict[str, str]
    arch: str
    recipe: Recipe
    identity: str
    same: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs of a study, in the order of its axes; `lowest_first` are choices, the names of
    values but the seed's."""

    name: str
    about: str
    scale: Scale
    lowest_first: tuple[str, ...]
    runs: tuple[Run, ...]


def load_sweep(path: Path, *, scale: Scale = "paper") -> Sweep:
    """Read and expand a study. Raises UserError that names the file, and the run at fault."""
    values = read_values(path)
    if "sweep" not in values:
        raise UserError(
            f"{path}: there is no `sweep` in it", fix="Train one recipe with unimm-train pretrain."
        )
    name = values.pop("name", None)
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: the study has no name")
    try:
        spec = SweepSpec(**values.pop("sweep"))
    except (ValidationError, TypeError) as error:
        problem = explain(error) if isinstance(error, ValidationError) else "not a table"
        raise UserError(f"{path}: sweep: {problem}", fix="See train/recipes/README.md.") from error
    if unknown := sorted(set(spec.law) - set(spec.axes)):
        raise UserError(f"{path}: sweep.law: there is no axis {', '.join(unknown)}")
    chosen = _combinations(path, spec)
    changed = [_changed(values, spec, labels) for labels in chosen]
    names = ["-".join((name, *labels.values())) for labels in chosen]
    if scale == "toy":
        try:
            changed = at_toy_size(changed)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: {_said(error)}") from error
    runs: list[Run] = []
    for labels, run_name, fields in zip(chosen, names, changed, strict=True):
        recipe = _recipe(fields, path=path, name=run_name)
        runs.append(
            Run(
                name=run_name,
                labels=labels,
                arch="-".join((_kind(recipe), *(labels[axis] for axis in spec.law))),
                recipe=recipe,
                identity=_identity(recipe),
            )
        )
    return Sweep(
        name=name,
        about=spec.about,
        scale=scale,
        lowest_first=spec.lowest_first,
        runs=_without_repeats(runs),
    )


def _combinations(path: Path, spec: SweepSpec) -> list[dict[str, str]]:
    """Value names by axis, of every run. Raises UserError for a pattern that fits none."""
    products = itertools.product(*spec.axes.values())
    all_of_them = [dict(zip(spec.axes, values, strict=True)) for values in products]
    joined = ["-".join(labels.values()) for labels in all_of_them]
    for pattern in spec.leave_out:
        if not any(fnmatchcase(name, pattern) for name in joined):
            raise UserError(f"{path}: sweep.leave_out: {pattern} fits no combination")
    left = [
        labels
        for labels, name in zip(all_of_them, joined, strict=True)
        if not any(fnmatchcase(name, pattern) for pattern in spec.leave_out)
    ]
    if not left:
        raise UserError(f"{path}: sweep: no run is left")
    return left


def _changed(values: dict[str, Any], spec: SweepSpec, labels: dict[str, str]) -> dict[str, Any]:
    for axis, value in labels.items():
        values = laid_over(values, spec.axes[axis][value])
    return values


def _recipe(fields: dict[str, Any], *, path: Path, name: str) -> Recipe:
    """The recipe of one run, with the sources alone that it draws from."""
    place = f"{path}: {name}"
    try:
        fields = resolved(fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: {_said(error)}") from error
    if isinstance(fields.get("sources"), dict):
        used = {source for stage in fields["stages"] for source in stage.get("mixture", ())}
        fields["sources"] = {
            source: spec for source, spec in fields["sources"].items() if source in used
        }
    return parse_recipe({**fields, "name": name}, place=place)


def _without_repeats(runs: list[Run]) -> tuple[Run, ...]:
    """Runs that train the same become one, the first of them."""
    first: dict[str, int] = {}
    kept: list[Run] = []
    for run in runs:
        key = f"{run.identity} {run.arch}"
        if key in first:
            at = first[key]
            kept[at] = Run(**{**vars(kept[at]), "same": (*kept[at].same, run.name)})
        else:
            first[key] = len(kept)
            kept.append(run)
    return tuple(kept)


def _kind(recipe: Recipe) -> str:
    return "moe" if recipe.model_config_().feed_forward == "moe" else "dense"


def _said(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _identity(recipe: Recipe) -> str:
    """Fields at their defaults are left out: a new one changes no study."""
    return stable_hash(recipe.model_dump(mode="json", exclude={"name"}, exclude_defaults=True))
