"""Finetuning for questions about pictures (paper, appendix E.6): a recipe that says little.

The model, the encoder and the tokenizer are the parent's, and what a recipe leaves out is the
paper's: one epoch, 1 M tokens a step in rows of 4,096, a cosine from 1e-5 to 5% of it. Everything
else is pretraining (`pretrain.py`): the encoder is frozen, prompts are masked, answers and the
tokens that end them are trained.

A model that has seen text alone goes through the adapter stage first (`trained: adapter`, on
Cambrian's alignment data, 2e-3): only the projections that pictures come in by are trained.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.budget import LENGTHS, resolved
from unimm_eval.train.data.sources import used_sources
from unimm_eval.train.inherit import laid_over, read_values
from unimm_eval.train.parent import read_parent
from unimm_eval.train.places import root_of_data, under
from unimm_eval.train.recipe import Recipe, parse_recipe
from unimm_eval.train.rows import RecipeRows

TOKENS_A_STEP = 2**20
LENGTH = 4096
WARMUP_STEPS = 1000
LEARNING_RATES = {"all": 1e-5, "adapter": 2e-3}
"""Peaks of appendix E.6, by what is trained."""


def finetuning(
    path: Path,
    folder: Path,
    *,
    parent: str | None = None,
    sources: Mapping[str, str] | None = None,
) -> Recipe:
    """The whole recipe of a finetuning in `path` whose run is kept in `folder`; `parent` goes
    before the recipe's own, and `sources` are other paths of sources by their names.

    `epochs` in it (1 where no other length is given) are counted in rows of its one source, which
    is measured for that. Raises UserError that names what is missing or wrong.
    """
    values = {**read_values(path), **({"parent": parent} if parent else {})}
    if not values.get("parent"):
        raise UserError(
            f"{path}: there is nothing to finetune.",
            fix="Name the checkpoint: --parent FOLDER, or `parent` in the recipe.",
        )
    files = read_parent(str(values["parent"]))
    length = min(LENGTH, files.config.max_length)
    optimizer = {"schedule": "cosine", "final_fraction": 0.05}
    if (peak := LEARNING_RATES.get(values.get("trained", "all"))) is not None:
        optimizer["learning_rate"] = peak
    base: dict[str, Any] = {
        "name": path.stem,
        "length": length,
        "model": files.config.to_json(),
        "encoder": files.encoder.to_json(),
        "optimizer": optimizer,
        "max_bad_records": 0.0,  # a sample that nothing is learned from is an error, named
    }
    values = laid_over(base, under(root_of_data(None), values))
    for name, place in (sources or {}).items():
        values = laid_over(values, {"sources": {name: {"path": place}}})
    if isinstance(values["length"], int) and values["length"] > 0:
        values = {"rows": max(1, TOKENS_A_STEP // values["length"]), **values}
    epochs = values.pop("epochs", None)
    if epochs is not None and any(key in values for key in LENGTHS):
        raise UserError(f"{path}: give epochs or {', '.join(LENGTHS)}, not both.")
    if any(key in values for key in LENGTHS):
        return _parsed(path, values)
    return _by_epochs(path, values, folder, epochs=1 if epochs is None else epochs)


def _by_epochs(path: Path, values: dict[str, Any], folder: Path, *, epochs: Any) -> Recipe:
    """With as many steps as see every row of the one source `epochs` times; a last step that the
    rows do not fill is filled from the next epoch."""
    if not isinstance(epochs, int | float) or not 0 < epochs < math.inf:
        raise UserError(f"{path}: epochs: {epochs!r} is not a number above 0.")
    # Whatever the length will be: rows do not depend on it.
    one_step = {**values, "steps": 1, "optimizer": {**values["optimizer"], "warmup_steps": 0}}
    recipe = _parsed(path, one_step)
    sources = used_sources(recipe)
    drawn = {name for stage in recipe.stages for name in stage.mixture}
    if len(sources) != 1 or len(drawn) != 1:
        raise UserError(
            f"{path}: epochs are of one source, and it draws from {', '.join(sorted(drawn))}.",
            fix=f"Give the length as one of {', '.join(LENGTHS)}.",
        )
    tokenizer = Tokenizer.load(read_parent(str(values["parent"])).folder / "tokenizer.json")
    rows = RecipeRows(recipe, tokenizer, folder).sources[sources[0]].rows
    return _parsed(path, {**values, "steps": math.ceil(epochs * rows / recipe.rows)})


def _parsed(path: Path, values: dict[str, Any]) -> Recipe:
    """The recipe, its warm-up E.2's 1,000 steps or, where it is short, a third of it."""
    try:
        values = resolved(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    optimizer = values["optimizer"]
    if isinstance(optimizer, dict) and isinstance(values["steps"], int):
        warmup = min(WARMUP_STEPS, values["steps"] // 3)
        values = {**values, "optimizer": {"warmup_steps": warmup, **optimizer}}
    return parse_recipe(values, place=str(path))
