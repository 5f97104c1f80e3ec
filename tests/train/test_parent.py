"""A run begins from a checkpoint, says so, and goes on without it."""

import json
import shutil

import pytest
import torch
from small_recipe import saved, small_recipe

from unimm_eval.api import UserError
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.train.export import export_run
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import load_recipe


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent")
    Pretraining(small_recipe(), folder / "run", workers=0).run(until=3)
    export_run(folder / "run", folder / "checkpoint")
    return folder / "checkpoint"


def child(parent, **changes):
    return small_recipe(parent=str(parent), seed=7, steps=5, **changes)


def loaded(folder):
    return load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)


def test_a_run_begins_with_the_weights_and_the_tokenizer_of_its_parent(parent, tmp_path):
    run = Pretraining(child(parent), tmp_path / "run", workers=0)
    before = loaded(parent)
    assert run.step == 0
    for name, weight in run.model.named_parameters():
        assert torch.equal(weight, before.model.get_parameter(name))
    assert run.tokenizer.encode("a red moon") == before.tokenizer.encode("a red moon")
    run.run()
    export_run(tmp_path / "run", tmp_path / "checkpoint")
    training = json.loads((tmp_path / "checkpoint" / "training.json").read_text())
    assert training["parent"] == before.files.fingerprint
    assert training["step"] == 5
    assert not torch.equal(
        loaded(tmp_path / "checkpoint").model.text_head.weight, before.model.text_head.weight
    )


def test_a_run_with_a_state_goes_on_without_its_parent(parent, tmp_path):
    Pretraining(child(parent), tmp_path / "unstopped", workers=0).run()
    moved = shutil.copytree(parent, tmp_path / "moved")
    run = tmp_path / "run"
    Pretraining(child(moved), run, workers=0).run(until=2)
    shutil.rmtree(moved)
    with pytest.raises(UserError, match=r"(?s)parent.*recipe\.yaml"):
        Pretraining(child(moved), run, workers=0)
    Pretraining(load_recipe(run / "recipe.yaml"), run, workers=0).run()
    one, two = saved(tmp_path / "unstopped", 5), saved(run, 5)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_parent_that_is_not_the_one_of_the_run_is_refused(parent, tmp_path):
    other = shutil.copytree(parent, tmp_path / "other")
    run = tmp_path / "run"
    Pretraining(child(other), run, workers=0).run(until=1)
    (other / "training.json").write_text("{}")
    with pytest.raises(UserError, match="another recipe"):
        Pretraining(child(other), run, workers=0)
    pinned = child(other, parent_fingerprint="0" * 64)
    with pytest.raises(UserError, match="parent_fingerprint"):
        Pretraining(pinned, tmp_path / "pinned", workers=0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": {"dim": 64}}, r"dim \(recipe 64, parent 32\)"),
        ({"model": {"prediction": "v"}}, "prediction"),
        (
            {"model": {"latent_channels": 48, "latent_grid": 8}, "encoder": {"patch_size": 4}},
            "grid",
        ),
    ],
)
def test_a_parent_of_another_architecture_is_refused_by_name(parent, tmp_path, change, named):
    values = child(parent).model_dump()
    for field, update in change.items():
        values[field].update(update)
    with pytest.raises(UserError, match=named):
        Pretraining(type(child(parent))(**values), tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_a_parent_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"parent: .*not a whole checkpoint"):
        Pretraining(child(tmp_path), tmp_path / "run", workers=0)
