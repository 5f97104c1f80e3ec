"""A run stops anywhere and goes on exactly; ranks change nothing but the last bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_recipe import DEMO, saved, small_recipe

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.train.export import export_run, export_twin
from unimm_eval.train.log import read_log
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import load_recipe, save_recipe

ROOT = Path(__file__).parents[2]
COSINE = {"schedule": "cosine", "decay_steps": 0}
LOSSES = ("step", "text_loss", "flow_loss", "balance", "grad_norm", "learning_rate", "tokens")


def losses(folder):
    return [{name: entry[name] for name in LOSSES} for entry in read_log(folder)]


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unstopped")
    Pretraining(small_recipe(), folder, workers=0).run()
    return folder


def test_a_stopped_run_goes_on_with_the_losses_of_an_unstopped_one(unstopped, tmp_path):
    Pretraining(small_recipe(), tmp_path, workers=0).run(until=2)
    resumed = Pretraining(small_recipe(), tmp_path, workers=1)
    assert resumed.step == 2
    resumed.run(until=5)
    Pretraining(small_recipe(), tmp_path, workers=0).run()
    assert losses(tmp_path) == losses(unstopped)
    ours, theirs = saved(tmp_path, 8), saved(unstopped, 8)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_killed_run_goes_on_from_its_last_state(unstopped, tmp_path):
    first = Pretraining(small_recipe(), tmp_path, workers=0)

    class Killed(BaseException):
        pass

    def kill(entry):
        if entry.step == 5:  # two steps behind the state of step 3
            raise Killed

    with pytest.raises(Killed):
        first.run(on_step=kill)
    again = Pretraining(small_recipe(), tmp_path, workers=0)
    assert again.step == 3
    again.run()
    assert losses(tmp_path) == losses(unstopped)


def test_sigterm_saves_and_says_how_to_go_on(unstopped, tmp_path):
    run = Pretraining(small_recipe(), tmp_path, workers=0)

    def stop(entry):
        if entry.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(IncompleteError, match=r"after step [45]"):
        run.run(on_step=stop)
    Pretraining(small_recipe(), tmp_path, workers=0).run()
    assert losses(tmp_path) == losses(unstopped)


def test_a_folder_of_another_recipe_is_refused(unstopped):
    with pytest.raises(UserError, match="another recipe"):
        Pretraining(small_recipe(seed=1), unstopped, workers=0)


def test_what_comes_next_can_be_changed_and_what_was_cannot(tmp_path):
    first = {"from_step": 0, "mixture": {"text": 1.0}}
    later = {"from_step": 4, "mixture": {"chat": 1.0}}
    Pretraining(small_recipe(stages=(first,)), tmp_path, workers=0).run(until=4)
    run = Pretraining(small_recipe(stages=(first, later), steps=9), tmp_path, workers=0)
    assert run.step == 4
    run.run(until=6)
    flow = [entry["flow_loss"] for entry in losses(tmp_path)]
    tokens = [entry["text_loss"] for entry in losses(tmp_path)]
    assert flow == [0.0] * 6
    assert all(tokens)
    with pytest.raises(UserError, match="another recipe"):
        Pretraining(small_recipe(stages=(first,)), tmp_path, workers=0)


def test_options_of_training_change_an_identity_only_where_they_are_used():
    """States of runs that were begun before there was an option still belong to their recipe."""
    assert load_recipe(DEMO).identity(1) == "88030b0d66daaba1"
    plain = small_recipe().identity(8)
    assert small_recipe(context_noise="clean", clean_share=1.0).identity(8) == plain
    used = [
        {"context_noise": "paper"},
        {"clean_share": 0.5},
        {"logit_normal": {}},
        {"centering": {}},
        {"ema": 0.99},
        {"skip_steps": (8,)},
        {"optimizer": {**small_recipe().optimizer.model_dump(), **COSINE}},
        {"parent": "demo", "parent_fingerprint": "0"},
        {"parent": "demo", "parent_fingerprint": "1"},
    ]
    identities = [small_recipe(**options).identity(8) for options in used]
    assert len({plain, *identities}) == len(used) + 1
    elsewhere = small_recipe(parent="elsewhere", parent_fingerprint="0")
    assert elsewhere.identity(8) == identities[7]
    assert small_recipe(skip_steps=(9,)).identity(8) == plain


def test_two_ranks_give_the_losses_of_one(unstopped, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    save_recipe(recipe, small_recipe())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "unimm_eval.cli.train", "pretrain", str(recipe), "--output", "run"]
    subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=300,
    )
    for ours, theirs in zip(losses(tmp_path / "run"), losses(unstopped), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_the_model_learns_and_is_exported_as_it_was_trained(tmp_path):
    recipe = small_recipe(steps=40, rows=8, save_every=40)
    run = Pretraining(recipe, tmp_path / "run", workers=0)
    run.run()
    first, last = losses(tmp_path / "run")[0], losses(tmp_path / "run")[-1]
    assert last["text_loss"] < 0.95 * first["text_loss"]
    assert last["flow_loss"] < 0.7 * first["flow_loss"]
    assert export_run(tmp_path / "run", tmp_path / "checkpoint") == 40
    loaded = load_checkpoint(
        tmp_path / "checkpoint", device=torch.device("cpu"), dtype=torch.float32
    )
    training = json.loads((tmp_path / "checkpoint" / "training.json").read_text())
    assert training["step"] == 40
    assert training["tokens"] == sum(entry["tokens"] for entry in losses(tmp_path / "run"))
    for name, weight in loaded.model.state_dict().items():
        trained = dict(zip(run.optimizer.names, run.optimizer.masters, strict=True))[name]
        assert torch.equal(weight, trained.detach().bfloat16().float())


def test_the_untrained_twin_believes_nothing(tmp_path):
    Pretraining(small_recipe(), tmp_path / "run", workers=0).run(until=3)
    export_run(tmp_path / "run", tmp_path / "trained")
    export_twin(tmp_path / "trained", tmp_path / "twin")
    cpu = torch.device("cpu")
    trained = load_checkpoint(tmp_path / "trained", device=cpu, dtype=torch.float32)
    twin = load_checkpoint(tmp_path / "twin", device=cpu, dtype=torch.float32)
    assert twin.files.config == trained.files.config
    assert twin.tokenizer.encode("a red moon") == trained.tokenizer.encode("a red moon")
    assert twin.files.fingerprint != trained.files.fingerprint
    model = twin.model
    assert not model.text_head.weight.any()
    assert not model.latent_out.weight.any()
    assert model.latent_in.weight.any()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stages": [{"from_step": 0, "mixture": {"text": 0.5, "chat": 0.4}}]}, "sum to 0.9"),
        ({"stages": [{"from_step": 3, "mixture": {"text": 1.0}}]}, "stages"),
        ({"unknown": 1}, "unknown"),
        ({"steps": 4}, "warmup_steps and decay_steps"),
        ({"encoder": {"picture_size": 32, "patch_size": 4}}, "encoder gives"),
        ({"length": 5000}, "max_length"),
        ({"stages": [{"from_step": 0, "mixture": {"video": 1.0}}]}, "mixture"),
        ({"context_noise": "some"}, "context_noise"),
        ({"context_noise": "paper", "clean_share": 0.5}, "clean_share"),
        ({"clean_share": 1.5}, "clean_share"),
        ({"centering": {"alpha": 1.5}}, r"centering\.alpha"),
        ({"centering": {"momentum": 1.0}}, r"centering\.momentum"),
        ({"centering": {}, "flow_weight": 6.0}, "flow_weight"),
        ({"logit_normal": {"std": 0.0}}, r"logit_normal\.std"),
        (
            {"stages": [{"from_step": 0, "mixture": {"text": 1.0}, "tags": {"two": 1.0}}]},
            "unknown: two",
        ),
        (
            {"stages": [{"from_step": 0, "mixture": {"text": 1.0}, "tags": {"colors": 0.0}}]},
            "one is more than 0",
        ),
        ({"parent_fingerprint": "0"}, "parent_fingerprint"),
        ({"ema": 1.0}, "ema"),
        ({"skip_steps": [0]}, "skip_steps"),
        ({"parent": "demo", "tokenizer": "here"}, "tokenizer"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_name(tmp_path, change, named):
    import yaml

    path = tmp_path / "recipe.yaml"
    save_recipe(path, small_recipe())
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, **change}))
    with pytest.raises(UserError, match=named) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
