"""A recipe may name a tokenizer that the user has, instead of one trained on the world."""

from pathlib import Path

import pytest
from small_recipe import small_recipe

from unimm_eval.api import UserError
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.pretrain import Pretraining


def test_a_named_tokenizer_is_copied_into_the_run(tmp_path: Path) -> None:
    recipe = small_recipe()
    words = (f"word{number}" for number in range(3000))
    own = Tokenizer.train(words, vocab_size=recipe.model_config_().vocab_size)
    own.save(tmp_path / "tokenizer.json")
    named = recipe.model_copy(update={"tokenizer": str(tmp_path)})
    assert named.identity(1) != recipe.identity(1)
    for _ in range(2):
        begun = Pretraining(named, tmp_path / "run", workers=0)
        assert begun.tokenizer.encode("word12 word13") == own.encode("word12 word13")
        (tmp_path / "tokenizer.json").unlink(missing_ok=True)  # the run has its own from now on


def test_a_missing_or_unfit_tokenizer_is_refused_before_training(tmp_path: Path) -> None:
    recipe = small_recipe().model_copy(update={"tokenizer": "meta-llama/Llama-3.2-1B"})
    with pytest.raises(UserError, match=r"tokenizer: meta-llama.*download"):
        Pretraining(recipe, tmp_path / "run", workers=0)
    Tokenizer.train(iter(["few words"]), vocab_size=264).save(tmp_path / "tokenizer.json")
    recipe = recipe.model_copy(update={"tokenizer": str(tmp_path)})
    with pytest.raises(UserError, match="264 tokens, but the model has"):
        Pretraining(recipe, tmp_path / "run", workers=0)


def test_a_parent_brings_its_tokenizer() -> None:
    values = small_recipe().model_dump() | {"parent": "demo", "tokenizer": "tokenizer.json"}
    with pytest.raises(ValueError, match="tokenizer"):
        type(small_recipe())(**values)
