"""Every study of the paper in train/recipes: what it runs, and what that costs."""

from pathlib import Path

import pytest
import yaml

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.counts import count_parameters, flops_per_token
from unimm_eval.model.presets import preset
from unimm_eval.train.recipe import load_recipe
from unimm_eval.train.sweep import load_sweep
from unimm_eval.train.sweep_cost import MFU, PEAK_FLOPS, cost_of

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
PARTS = {"defaults.yaml", "sources.yaml", "mixture-1t.yaml", "section-6.yaml"}
STUDIES = {  # number of runs
    "composition": 24,
    "data-mixtures": 4,
    "ffn": 15,
    "granularity": 20,
    "image-text-sources": 4,
    "isoflop-dense": 90,
    "isoflop-moe": 90,
    "loss-centering": 6,
    "nwm-ratio": 5,
    "nwm-synergy": 6,
    "shared-experts": 3,
    "sparsity": 14,
    "stacked": 8,
    "visual-representation": 8,
    "vqa-synergy": 5,
}
SINGLE = ("default", "experts")


def study(name: str, **options):
    return load_sweep(RECIPES / f"{name}.yaml", **options)


def named(name: str) -> dict:
    return {run.name: run.recipe for run in study(name).runs}


def test_no_recipe_is_left_out_of_these_tests():
    sweeps = {
        path.stem
        for path in RECIPES.glob("*.yaml")
        if "sweep" in yaml.safe_load(path.read_text(encoding="utf-8"))
    }
    assert sweeps == set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_expands_to_runs_with_names_of_their_own(name):
    runs = study(name).runs
    assert len(runs) == len({run.name for run in runs}) == STUDIES[name]
    for run in runs:
        assert run.recipe.rows * run.recipe.length == 2**21
        assert run.recipe.name == run.name
        assert not run.same
        used = {source for stage in run.recipe.stages for source in stage.mixture}
        assert set(run.recipe.sources) == used


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_a_toy_size(name):
    toy = study(name, scale="toy").runs
    assert {n for run in toy for n in (run.name, *run.same)} == {r.name for r in study(name).runs}
    for run in toy:
        assert count_parameters(run.recipe.model_config_()).active < 2e6
        assert run.recipe.steps * run.recipe.rows * run.recipe.length < 1.3e7
        assert not run.recipe.sources
        assert run.recipe.optimizer.warmup_steps <= run.recipe.steps


@pytest.mark.parametrize("name", SINGLE)
def test_single_recipes_load(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.steps == round(1.04e12 / 2**21)


def test_the_whole_mixture_has_the_shares_of_the_paper():
    shares = load_recipe(RECIPES / "experts.yaml").stages[0].mixture
    assert shares["dclm"] == pytest.approx(0.5)
    assert shares["video"] == pytest.approx(0.25)
    captions = shares["metaclip_to_text"] + shares["shutterstock_to_image"]
    assert captions == pytest.approx(0.225)
    assert shares["actions"] + shares["navigation"] == pytest.approx(0.025)


def test_the_models_are_those_of_the_presets():
    found = {
        "modality-2.3b": load_recipe(RECIPES / "default.yaml"),
        "dense-1.5b": named("loss-centering") and named("stacked")["stacked-shared_ffn"],
        "mot": named("stacked")["stacked-mot"],
        "moe-e1008": named("sparsity")["sparsity-e1008-siglip2"],
        "moe-g64": named("granularity")["granularity-g64-siglip2-x"],
        "moe-g1": named("granularity")["granularity-g1-siglip2-x"],
    }
    for name, recipe in found.items():
        config = recipe.model_config_().to_json()
        wanted = preset(name).config.to_json()
        config["latent_channels"] = wanted["latent_channels"]  # the baseline draws with a VAE
        assert config == wanted, name


def test_experts_bring_no_width_of_a_single_layer():
    for name, recipe in named("ffn").items():
        assert ("hidden_dim" in recipe.model) == ("moe" not in name)


def test_the_grid_has_every_amount_of_either_but_none_of_both():
    runs = {
        (run.labels["text"], run.labels["pictures"]): run.recipe
        for run in study("composition").runs
    }
    assert ("t0", "p0") not in runs
    for (text, pictures), recipe in runs.items():
        wanted = {"dclm": int(text[1:]), "shutterstock_to_image": int(pictures[1:])}
        total = sum(wanted.values())
        assert recipe.steps == round(total * 1e9 / 2**21)
        shares = recipe.stages[0].mixture
        assert shares == pytest.approx({name: n / total for name, n in wanted.items() if n})


def test_navigation_is_the_share_of_200_billion_tokens_that_it_is_named_after():
    for name, recipe in named("nwm-ratio").items():
        shares = recipe.stages[0].mixture
        assert shares["navigation"] == pytest.approx(float(name.rpartition("-r")[2]) / 100)
        assert shares["dclm"] == shares["video"] == pytest.approx(0.25)
        assert recipe.steps == round(200e9 / 2**21)


def test_moe_scaling_has_sixteen_times_as_many_experts_as_are_active():
    dense = {run.name.replace("dense", "moe"): run.recipe for run in study("isoflop-dense").runs}
    for run in study("isoflop-moe").runs:
        config: ModelConfig = run.recipe.model_config_()
        assert config.num_experts == 16 * config.top_k
        assert config.top_k * config.expert_dim == 4 * config.dim  # as wide as the dense FFN
        assert dense[run.name].model_config_().dim == config.dim
        assert dense[run.name].stages == run.recipe.stages
    for run in study("isoflop-moe", scale="toy").runs:
        config = run.recipe.model_config_()
        assert config.num_experts == 16 * config.top_k
        assert config.top_k * config.expert_dim == 4 * config.dim


@pytest.mark.parametrize("name", ["isoflop-dense", "isoflop-moe"])
@pytest.mark.parametrize("scale", ["paper", "toy"])
def test_runs_of_a_budget_cost_the_same(name, scale):
    by_budget: dict[str, list[float]] = {}
    for run in study(name, scale=scale).runs:
        by_budget.setdefault(run.labels["budget"], []).append(cost_of(run).flops)
    for flops in by_budget.values():
        assert max(flops) < 1.02 * min(flops)


def test_costs_are_those_of_the_counts():
    for name in ("sparsity", "composition"):
        for run in study(name).runs:
            config, cost = run.recipe.model_config_(), cost_of(run)
            counts = count_parameters(config)
            assert (cost.params, cost.active_params) == (counts.total, counts.active)
            assert cost.tokens == run.recipe.steps * 2**21
            assert cost.flops == cost.tokens * flops_per_token(config, keys=4096)
            assert cost.gpu_hours == pytest.approx(cost.flops / (MFU * PEAK_FLOPS) / 3600)
    assert [f"{cost_of(r).params / 1e9:.2f}" for r in study("sparsity").runs[::2]] == [
        *("1.50", "2.30", "3.92", "7.14", "13.59", "26.48", "51.46")  # Table 5
    ]
