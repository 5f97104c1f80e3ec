"""Experts become one layer: exactly where every token passes the same ones; a run begins so."""

import json

import pytest
import torch
from small_recipe import small_recipe

from unimm_eval.api import UserError
from unimm_eval.model import flow
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.batches import first_batch
from unimm_eval.train.condense import condense, condensed
from unimm_eval.train.export import export_run
from unimm_eval.train.pretrain import Pretraining


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Pretraining(small_recipe(), tmp_path_factory.mktemp("run"), workers=0)


def grown(run, shared, *, even):
    """A random mixture whose routers choose the same experts for every token if `even`."""
    values = run.recipe.model_config_().to_json() | {"shared_experts": shared}
    model = UnifiedModel(type(run.recipe.model_config_()).from_json(values)).initialise(seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if even and "router" in name:
                parameter.zero_()
    return model


def hidden(model, batch):
    noised = flow.noisy(batch.latents_ITC, batch.noise_ITC, batch.t_I[:, None, None])
    with torch.no_grad():
        return model.hidden(batch, noised)[batch.valid_BS]


@pytest.mark.parametrize(
    ("kind", "shared"),
    [("modality", "modality"), ("modality", "global"), ("shared", "global"), ("shared", "none")],
)
def test_experts_that_every_token_passes_become_an_equal_layer(run, kind, shared):
    batch = first_batch(run.recipe, run.tokenizer, run.folder)
    parent = grown(run, shared, even=True)
    child = UnifiedModel(condensed(parent.config, kind)).initialise(seed=4)
    assert not torch.allclose(hidden(parent, batch), hidden(child, batch), atol=1e-3)
    condense(parent, child, batch)
    torch.testing.assert_close(hidden(child, batch), hidden(parent, batch), atol=1e-5, rtol=1e-5)


def test_a_layer_has_the_size_of_the_experts_that_a_token_passes(run):
    config = run.recipe.model_config_()
    assert condensed(config, "shared").hidden_dim == config.top_k * config.expert_dim


def test_a_run_without_experts_begins_from_a_mixture(run, tmp_path):
    run.run(until=2)
    export_run(run.folder, tmp_path / "parent")
    values = small_recipe().model_dump()
    for name in ("num_experts", "top_k", "expert_dim", "shared_experts"):
        del values["model"][name]
    values["model"].update(feed_forward="modality", hidden_dim=48)
    values.update(parent=str(tmp_path / "parent"), steps=5)
    recipe = type(run.recipe)(**values)
    child = Pretraining(recipe, tmp_path / "child", workers=0)
    parent = load_checkpoint(
        tmp_path / "parent", device=torch.device("cpu"), dtype=torch.float32
    ).model
    assert torch.equal(child.model.embedding.weight, parent.embedding.weight)
    child.run()
    export_run(tmp_path / "child", tmp_path / "checkpoint")
    training = json.loads((tmp_path / "checkpoint" / "training.json").read_text())
    assert training["recipe"]["model"]["feed_forward"] == "modality"

    values["model"].update(hidden_dim=64)
    with pytest.raises(UserError, match=r"hidden_dim \(recipe 64, parent 48\)"):
        Pretraining(type(run.recipe)(**values), tmp_path / "other", workers=0)
