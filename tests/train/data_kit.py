"""Small real files for the tests of training data, and recipes that read them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from small_recipe import small_recipe

from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.mixture import tokenizer_texts
from unimm_eval.train.rows import RecipeRows

WORDS = Tokenizer.train(iter(tokenizer_texts(0, 50)), vocab_size=400)
PICTURE = 16  # tokens of the small recipe's pictures


def write_jsonl(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_picture(path: Path, *, seed: int = 0, size=(40, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def data_recipe(sources, mixture=None, **changes):
    """A recipe of these sources alone, in equal shares unless said otherwise."""
    mixture = mixture or dict.fromkeys(sources, 1 / len(sources))
    stages = ({"from_step": 0, "mixture": mixture},)
    return small_recipe(**{"sources": sources, "stages": stages, **changes})


def open_rows(folder: Path, sources, mixture=None, **changes) -> RecipeRows:
    return RecipeRows(data_recipe(sources, mixture, **changes), WORDS, folder)
