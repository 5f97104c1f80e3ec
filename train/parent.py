"""Warm start: a run that begins with the weights and the tokenizer of a checkpoint.

The recipe names the checkpoint's folder; the run's copy of the recipe pins its fingerprint, which
is part of the recipe's identity. Once a state is saved the parent is not needed any more.
"""

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch

from unimm_eval.api import Lineage, UserError
from unimm_eval.model.checkpoint import CheckpointFiles, load_checkpoint, read_checkpoint
from unimm_eval.model.encoders import encoder_identity
from unimm_eval.model.sequence import Batch
from unimm_eval.model.shards import fill
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.condense import condense, condensed
from unimm_eval.train.recipe import Recipe

_DEMO = Path(__file__).parents[1] / "model" / "demo"
_FIX = "Give the folder of a checkpoint; a run with a state goes on by its own recipe.yaml alone."


def with_fingerprint(recipe: Recipe) -> Recipe:
    """The recipe with its parent's fingerprint filled in. Raises UserError where it has to be read
    and is no checkpoint, or does not fit."""
    if recipe.parent is None or recipe.parent_fingerprint is not None:
        return recipe
    files = _files(recipe)
    lineage = Lineage.of_training(files.fingerprint, files.training)
    return recipe.model_copy(
        update={"parent_fingerprint": lineage.fingerprint, "ancestors": lineage.parents}
    )


def read_parent(name: str) -> CheckpointFiles:
    """A checkpoint to begin from, `demo` or a folder, without its weights. Raises UserError."""
    try:
        return read_checkpoint(_DEMO if name == "demo" else Path(name))
    except ValueError as error:
        raise UserError(f"parent: {error}", fix=_FIX) from error


def copy_tokenizer(recipe: Recipe, path: Path) -> None:
    """Write the parent's tokenizer as `path`. Raises UserError."""
    shutil.copyfile(_files(recipe).folder / "tokenizer.json", path)


def load_weights(recipe: Recipe, model: UnifiedModel, first_batch: Callable[[], Batch]) -> None:
    """Overwrite the fp32 weights of `model` with the parent's, whose experts are made one layer
    where the recipe's model has none (`condense`, on the first batch). Raises UserError."""
    folder = _files(recipe).folder
    try:
        parent = load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)
    except ValueError as error:
        raise UserError(f"parent: {error}") from error
    whole = parent.model
    if model.config != whole.config:
        whole = UnifiedModel(model.config)
        condense(parent.model, whole, first_batch())
    weights = whole.state_dict()
    for name, parameter in model.named_parameters():
        fill(parameter, weights[name])


def _files(recipe: Recipe) -> CheckpointFiles:
    """The parent, checked against the recipe without loading its weights."""
    assert recipe.parent is not None
    files = read_parent(recipe.parent)
    folder = files.folder
    if recipe.parent_fingerprint not in (None, files.fingerprint):
        raise UserError(
            f"parent: {folder} is not the checkpoint of parent_fingerprint, "
            f"it is {files.fingerprint}",
            fix="Bring that checkpoint back, or train in another --output folder.",
        )
    wanted, found = recipe.model_config_(), files.config
    if found.feed_forward == "moe" and wanted.feed_forward != "moe":
        found = condensed(found, wanted.feed_forward)
    if differing := [
        f"{name} (recipe {getattr(wanted, name)}, parent {getattr(found, name)})"
        for name in (field.name for field in fields(wanted))
        if getattr(wanted, name) != getattr(found, name)
    ]:
        raise UserError(
            f"parent: {folder} is another architecture; differing: {', '.join(differing)}",
            fix="Give `model` as it stands in the parent's config.json.",
        )
    ours, theirs = (one.to_json() for one in (recipe.encoder_(), files.encoder))
    if encoder_identity(ours) != encoder_identity(theirs):
        raise UserError(f"parent: {folder} sees {theirs}, the recipe's encoder is {ours}")
    return files
