"""Checkpoint folders from training runs."""

import json
from pathlib import Path

from unimm_eval.api import UserError
from unimm_eval.model.checkpoint import save_checkpoint
from unimm_eval.train.pretrain import RECIPE, Pretraining
from unimm_eval.train.recipe import Recipe, load_recipe


def export_run(run: Path, output: Path) -> int:
    """Write the newest state of the run in folder `run`; returns its step. Raises UserError."""
    if not (run / RECIPE).is_file():
        raise UserError(f"{run}: not a training run, there is no {RECIPE}")
    training = Pretraining(load_recipe(run / RECIPE), run, workers=0)
    if training.step == 0:
        raise UserError(f"{run}: nothing was trained and saved yet")
    _export(training, output)
    return training.step


def export_untrained(recipe: Recipe, output: Path) -> None:
    """Write the weights that training of `recipe` starts from."""
    output.mkdir(parents=True, exist_ok=True)
    _export(Pretraining(recipe, output, workers=0), output)


def _export(training: Pretraining, output: Path) -> None:
    recipe = training.recipe
    training.model.float()
    training.optimizer.write_back()
    save_checkpoint(
        output,
        model=training.model,
        tokenizer=training.tokenizer,
        encoder=recipe.encoder_(),
        training={
            "recipe": json.loads(recipe.model_dump_json()),
            "recipe_hash": recipe.identity(),
            "seed": recipe.seed,
            "step": training.step,
            "tokens": training.tokens_seen(),
        },
    )
