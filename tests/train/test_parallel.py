"""A model that is laid over two real processes trains as one in a single process does."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from parallel_program import ODD, RECIPE
from rank_program import UnevenRows
from small_recipe import saved, small_recipe

from unimm_eval.api import UserError
from unimm_eval.model.meta import meta_model
from unimm_eval.model.presets import preset
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train import batches
from unimm_eval.train.batches import first_batch
from unimm_eval.train.export import export_run
from unimm_eval.train.log import read_log
from unimm_eval.train.mixture import tokenizer_texts
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.parallelize import Layout, build_model
from unimm_eval.train.pretrain import Pretraining

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NUMBERS = ("step", "text_loss", "flow_loss", "balance", "grad_norm", "learning_rate", "tokens")


def losses(folder):
    return [{name: entry[name] for name in NUMBERS} for entry in read_log(folder)]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of one process, `alone` and `uneven-alone`, and of two; `moved` is of one, two, one."""
    folder = tmp_path_factory.mktemp("parallel")
    Pretraining(RECIPE, folder / "moved", workers=0).run(until=2)
    for name in ("alone", "fsdp", "experts", "uneven", "uneven-alone"):
        (folder / name).mkdir()
        shutil.copy(folder / "moved" / "tokenizer.json", folder / name)
    Pretraining(RECIPE, folder / "alone", workers=0).run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "RecipeRows", UnevenRows)
        Pretraining(ODD, folder / "uneven-alone", workers=0).run(until=2)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(
        [*launch, str(HERE / "parallel_program.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=500,
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp", "experts"])
def test_a_layout_gives_the_losses_of_one_process(folder, name):
    assert_same(losses(folder / name), losses(folder / "alone")[:3])
    ours, theirs = (read_log(folder / run)[0] for run in (name, "alone"))
    assert ours["experts"] == theirs["experts"]
    for source, of_source in theirs["sources"].items():
        assert ours["sources"][source] == pytest.approx(of_source, rel=1e-4)


@pytest.mark.slow
def test_ranks_with_few_pictures_do_not_weigh_them_more_in_shards_either(folder):
    assert_same(losses(folder / "uneven"), losses(folder / "uneven-alone"))


@pytest.mark.slow
def test_a_run_goes_on_with_two_processes_and_then_with_one(folder):
    run = Pretraining(RECIPE, folder / "moved", workers=0)
    assert run.step == 4
    run.run()
    assert_same(losses(folder / "moved"), losses(folder / "alone"))
    ours, theirs = saved(folder / "moved", 6), saved(folder / "alone", 6)
    assert any(name.startswith("ema/") for name in theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_what_two_processes_saved_is_exported_by_one(folder, tmp_path):
    assert export_run(folder / "experts", tmp_path / "weights") == 3
    assert export_run(folder / "experts", tmp_path / "average", ema=True) == 3
    contents = {(tmp_path / n / "model.safetensors").read_bytes() for n in ("weights", "average")}
    assert len(contents) == 2


def test_a_model_is_filled_as_it_was_when_it_was_built_whole():
    config = small_recipe().model_config_()
    built = build_model(config, Layout(), Ranks("cpu"), dtype=torch.float32, seed=3)
    whole = UnifiedModel(config).initialise(seed=3)
    for (name, ours), theirs in zip(built.named_parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_recomputed_and_compiled_blocks_have_the_same_gradients(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    words = Tokenizer.train(iter(tokenizer_texts(0, 50)), vocab_size=768)
    batch = first_batch(small_recipe(), words, tmp_path)
    found = []
    for layout in (Layout(), Layout(recompute=True), Layout(recompute=True, compile=True)):
        config = small_recipe().model_config_()
        model = build_model(config, layout, Ranks("cpu"), dtype=torch.float32, seed=0)
        torch.nn.init.normal_(model.text_head.weight, generator=torch.Generator().manual_seed(0))
        torch.nn.init.normal_(model.latent_out.weight, generator=torch.Generator().manual_seed(1))
        losses = model.losses(batch, with_balance=True)
        total = losses.text_sum + losses.flow_sum + losses.balance
        found.append(torch.autograd.grad(total, list(model.parameters())))
    for other in found[1:]:
        for ours, theirs in zip(other, found[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_large_model_is_laid_out_without_memory():
    model = meta_model(preset("moe-e1008").config)
    assert sum(parameter.numel() for parameter in model.parameters()) > 50e9
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("layout", "ranks", "changes", "named"),
    [
        (Layout(expert_parallel=2), 2, {}, "Add --fsdp"),
        (Layout(fsdp=True, expert_parallel=2), 3, {}, "3 ranks cannot be split"),
        (Layout(fsdp=True, expert_parallel=3), 3, {}, "8 experts cannot be shared by 3"),
        (Layout(fsdp=True, expert_parallel=2), 6, {"dim": 64}, r"model\.dim 64"),
        (
            Layout(fsdp=True, expert_parallel=2),
            2,
            {"feed_forward": "shared", "hidden_dim": 8, "num_experts": 0, "top_k": 0},
            "no experts",
        ),
    ],
)
def test_a_layout_that_cannot_work_is_refused_by_name(layout, ranks, changes, named):
    config = replace(small_recipe().model_config_(), **changes)
    if config.feed_forward != "moe":
        config = replace(config, shared_experts="none", expert_dim=0)
    with pytest.raises(UserError, match=named):
        layout.check(config, SimpleNamespace(size=ranks))
