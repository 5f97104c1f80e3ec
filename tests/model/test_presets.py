"""Presets have the paper's sizes, to the printed digit, without allocating them."""

import time
from pathlib import Path

import pytest

from unimm_eval.model.checkpoint import read_checkpoint
from unimm_eval.model.counts import count_parameters
from unimm_eval.model.encoders import KINDS
from unimm_eval.model.meta import meta_model
from unimm_eval.model.presets import PRESET_NAMES, preset
from unimm_eval.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]

# Billions of parameters, total and active. §2.2 and Table 5 print two decimals of these.
PRINTED = {
    "dense-1.5b": ("1.498", "1.498"),
    "modality-2.3b": ("2.304", "1.498"),
    "moe-e32": ("2.305", "1.499"),
    "moe-e64": ("3.916", "1.501"),
    "moe-e128": ("7.140", "1.503"),
    "moe-e256": ("13.586", "1.507"),
    "moe-e512": ("26.480", "1.515"),
    "moe-e1008": ("51.460", "1.531"),
    "moe-g1": ("13.579", "1.499"),
    "moe-g4": ("13.580", "1.501"),
    "moe-g16": ("13.586", "1.507"),
    "moe-g32": ("13.595", "1.515"),
    "moe-g64": ("13.410", "1.531"),
}


def billions(count: int) -> str:
    return f"{count / 1e9:.3f}"


@pytest.mark.parametrize("name", PRINTED)
def test_a_preset_has_the_parameters_of_the_paper(name):
    counts = count_parameters(preset(name).config)
    assert (billions(counts.total), billions(counts.active)) == PRINTED[name]


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_the_counts_are_those_of_the_model_which_is_built_in_no_time(name):
    config = preset(name).config
    begin = time.process_time()
    model = meta_model(config)
    assert time.process_time() - begin < 0.5
    assert all(weight.is_meta for weight in model.parameters())
    counts = count_parameters(config)
    adapters = [*model.latent_in.parameters(), *model.latent_out.parameters()]
    assert counts.visual_adapters == sum(weight.numel() for weight in adapters)
    assert counts.time_embedding == sum(weight.numel() for weight in model.time.parameters())
    assert counts.everything == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("granularity", [1, 4, 16, 32, 64])
def test_granularity_keeps_the_active_width(granularity):
    config = preset(f"moe-g{granularity}").config
    assert 4 * config.dim == granularity * config.expert_dim
    assert config.top_k == granularity


@pytest.mark.parametrize("name", PRINTED)
def test_a_preset_takes_what_its_encoder_gives(name):
    config, encoder = preset(name).config, KINDS[preset(name).encoder]()
    assert (config.latent_channels, config.latent_grid) == (encoder.channels, encoder.grid)


def test_the_demo_is_one_architecture_in_checkpoint_recipe_and_preset():
    recipe = load_recipe(ROOT / "train" / "recipes" / "demo.yaml")
    checkpoint = read_checkpoint(ROOT / "model" / "demo")
    assert preset("demo").config == checkpoint.config == recipe.model_config_()


def test_an_unknown_preset_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"'moe-e96'; known: dense-1\.5b.*moe-g64, demo"):
        preset("moe-e96")
