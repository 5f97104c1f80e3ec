"""Checkpoint folders from training runs."""

import json
from pathlib import Path

from unimm_eval.api import UserError
from unimm_eval.model.checkpoint import read_checkpoint, save_checkpoint
from unimm_eval.model.meta import meta_model
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.pretrain import RECIPE, Pretraining
from unimm_eval.train.recipe import load_recipe


def export_run(run: Path, output: Path, *, ema: bool = False) -> int:
    """Write the newest state of the run in folder `run`, or with `ema` the moving average of its
    weights; returns its step. Raises UserError."""
    if not (run / RECIPE).is_file():
        raise UserError(f"{run}: not a training run, there is no {RECIPE}")
    training = Pretraining(load_recipe(run / RECIPE), run, workers=0, device="cpu")
    if training.step == 0:
        raise UserError(f"{run}: nothing was trained and saved yet")
    if ema and training.recipe.ema is None:
        raise UserError(
            f"{run}: there is no moving average of the weights",
            fix="Export without --ema; the recipe of a new run may say ema: 0.9999.",
        )
    write_checkpoint(training, output, ema=ema)
    return training.step


def write_checkpoint(training: Pretraining, output: Path, *, ema: bool = False) -> None:
    """Write the weights of a run as they are, or their average. All ranks call it."""
    recipe, weights = training.recipe, training.optimizer.whole(ema=ema)
    if not training.ranks.first:
        return
    model = meta_model(recipe.model_config_())
    model.load_state_dict(weights, assign=True)
    save_checkpoint(
        output,
        model=model,
        tokenizer=training.tokenizer,
        encoder=recipe.encoder_(),
        training={
            "recipe": json.loads(recipe.model_dump_json()),
            "recipe_hash": recipe.identity(training.step),
            "seed": recipe.seed,
            "step": training.step,
            "tokens": training.tokens_seen(),
            **({"ema": recipe.ema} if ema else {}),
            **({"parent": recipe.parent_fingerprint} if recipe.parent else {}),
            **({"ancestors": list(recipe.ancestors)} if recipe.ancestors else {}),
        },
    )


def export_twin(checkpoint: Path, output: Path) -> None:
    """Write the twin of a checkpoint that has learned nothing. Raises UserError."""
    try:
        files = read_checkpoint(checkpoint)
        tokenizer = Tokenizer.load(checkpoint / "tokenizer.json")
    except ValueError as error:
        raise UserError(str(error)) from error
    seed = int(files.training.get("seed", 0))
    save_checkpoint(
        output,
        model=UnifiedModel(files.config).initialise(seed=seed),
        tokenizer=tokenizer,
        encoder=files.encoder,
        training={"seed": seed, "step": 0, "tokens": 0, "twin_of": files.fingerprint},
    )
