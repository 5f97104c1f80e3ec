"""A finetuning takes what it does not say from its parent and from the paper."""

import json
import math

import pytest
import torch
from checkpoints import tiny_checkpoint
from safetensors.torch import load_file

from unimm_eval.api import Lineage, UserError
from unimm_eval.model.checkpoint import read_checkpoint
from unimm_eval.train.export import export_run
from unimm_eval.train.finetune import finetuning
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.tools.world_conversations import WorldConversations, write_conversations


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("parent") / "base")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_conversations(
        WorldConversations(conversations=12), tmp_path_factory.mktemp("world") / "world"
    )


def recipe_file(tmp_path, rows, text=""):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"sources: {{world: {{kind: conversations, path: {rows}}}}}\n"
        f"mixture: {{world: 1.0}}\n{text}"
    )
    return path


def test_what_is_left_out_is_the_papers_and_the_parents(parent, rows, tmp_path):
    recipe = finetuning(recipe_file(tmp_path, rows), tmp_path / "run", parent=str(parent))
    assert recipe.model_config_() == read_checkpoint(parent).config
    assert recipe.rows * recipe.length == 2**20
    assert (recipe.optimizer.learning_rate, recipe.optimizer.schedule) == (1e-5, "cosine")
    assert recipe.steps == 1  # an epoch of a dozen conversations
    text = recipe_file(tmp_path, rows, "trained: adapter\n")
    assert finetuning(text, tmp_path / "run", parent=str(parent)).optimizer.learning_rate == 2e-3


def test_an_epoch_is_as_many_steps_as_see_every_row(parent, rows, tmp_path):
    path = recipe_file(tmp_path, rows, "rows: 2\nlength: 256\n")
    once = finetuning(path, tmp_path / "run", parent=str(parent))
    path = recipe_file(tmp_path, rows, "rows: 1\nlength: 256\nepochs: 2\n")
    twice = finetuning(path, tmp_path / "run", parent=str(parent))
    assert twice.steps % 2 == 0
    assert once.steps == math.ceil(twice.steps / 2 / 2)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs: 1\nsteps: 3\n", "epochs or steps"),
        ("epochs: 0\n", "not a number above 0"),
        ("mixture: {world: 0.5, text: 0.5}\n", "epochs are of one source"),
        ("trained: heads\n", "trained"),
    ],
)
def test_a_length_that_cannot_be_is_refused(parent, rows, tmp_path, text, named):
    lines = recipe_file(tmp_path, rows).read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(":")[0] not in text]
    (tmp_path / "recipe.yaml").write_text("".join(kept) + text)
    with pytest.raises(UserError, match=named):
        finetuning(tmp_path / "recipe.yaml", tmp_path / "run", parent=str(parent))


def test_a_sample_without_a_trained_token_is_an_error_that_names_it(parent, tmp_path):
    rows = tmp_path / "rows.jsonl"
    said = [{"from": "human", "value": "what?"}, {"from": "gpt", "value": " "}]
    told = [said[0], {"from": "gpt", "value": "a ring"}]
    rows.write_text("".join(f"{json.dumps({'conversations': c})}\n" for c in (told, said)))
    with pytest.raises(UserError, match=r"(?s)rows\.jsonl:2.*nothing to be trained on"):
        finetuning(recipe_file(tmp_path, rows), tmp_path / "run", parent=str(parent))


def test_nothing_to_begin_from_is_refused(rows, tmp_path):
    with pytest.raises(UserError, match="nothing to finetune"):
        finetuning(recipe_file(tmp_path, rows), tmp_path / "run")


def test_the_adapter_stage_trains_projections_alone_and_children_name_their_ancestors(
    parent, rows, tmp_path
):
    text = "trained: adapter\nrows: 2\nlength: 256\nsteps: 2\ndtype: float32\n"
    path, run = recipe_file(tmp_path, rows, text), tmp_path / "adapter"
    Pretraining(finetuning(path, run, parent=str(parent)), run, workers=0).run()
    export_run(run, tmp_path / "warm")
    before = load_file(parent / "model.safetensors")
    after = load_file(tmp_path / "warm" / "model.safetensors")
    moved = {
        name
        for name, weight in after.items()
        if not torch.equal(weight, before[name].to(weight.dtype))
    }
    assert moved == {"latent_in.weight", "latent_in.bias"}
    path, run = recipe_file(tmp_path, rows, text.replace("adapter", "all")), tmp_path / "all"
    Pretraining(finetuning(path, run, parent=str(tmp_path / "warm")), run, workers=0).run()
    export_run(run, tmp_path / "child")
    files = read_checkpoint(tmp_path / "child")
    assert Lineage.of_training(files.fingerprint, files.training).parents == (
        read_checkpoint(tmp_path / "warm").fingerprint,
        read_checkpoint(parent).fingerprint,
    )


def test_conversations_of_the_world_are_written_once_and_the_same(tmp_path):
    job = WorldConversations(conversations=5, families={"seed": 3})
    one = write_conversations(job, tmp_path / "one")
    assert one.read_bytes() == write_conversations(job, tmp_path / "two").read_bytes()
    for line in map(json.loads, one.read_text().splitlines()):
        assert (one.parent / line["image"]).exists()
        assert line["conversations"][0]["value"].startswith("<image>\n")
    with pytest.raises(UserError, match="begun with"):
        write_conversations(WorldConversations(conversations=6), tmp_path / "one")
    with pytest.raises(UserError, match="unknown: sed"):
        WorldConversations(conversations=5, families={"sed": 1})
