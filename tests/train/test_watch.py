"""What is seen of a run: losses by source, load of experts, evaluations; and what stops it."""

import csv
import json
import math
import os
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_recipe import small_recipe

from unimm_eval.api import UserError
from unimm_eval.model.checkpoint import read_checkpoint
from unimm_eval.train.evaluation import Evaluation
from unimm_eval.train.guard import LossGuard
from unimm_eval.train.log import read_log
from unimm_eval.train.optimizer import learning_rate
from unimm_eval.train.pretrain import Pretraining, Watch
from unimm_eval.train.recipe import OptimizerRecipe
from unimm_eval.train.throughput import training_flops
from unimm_eval.train.totals import load_summary
from unimm_eval.train.track import Tracker

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four steps that were evaluated after 2 and 4, with an average of the weights."""
    folder = tmp_path_factory.mktemp("watched")
    said, judged = [], []

    def judge(checkpoint, output):
        judged.append((read_checkpoint(checkpoint).training, output.name))
        if len(judged) == 1:
            raise OSError("no such task")
        return {"world:mini/accuracy": 0.25}

    recipe = small_recipe(steps=4, ema=0.9, optimizer={**OPTIMIZER, "decay_steps": 1})
    training = Pretraining(recipe, folder, workers=0)
    training.run(watch=Watch(evaluate=Evaluation(judge=judge, every=2, say=said.append), peak=1e12))
    return folder, training, said, judged


OPTIMIZER = small_recipe().optimizer.model_dump()


def test_a_line_of_the_log_adds_up(run):
    folder, _, _, _ = run
    progress = {}
    for entry in read_log(folder):
        sources = entry["sources"]
        assert sum(source["tokens"] for source in sources.values()) == entry["tokens"]
        flow = [source for source in sources.values() if "flow_loss" in source]
        assert len(flow) == 1  # of one source alone, so it is the loss of the batch
        assert flow[0]["flow_loss"] == pytest.approx(entry["flow_loss"])
        text = [source["text_loss"] for source in sources.values() if "text_loss" in source]
        assert min(text) <= entry["text_loss"] <= max(text)
        for name, source in sources.items():
            progress[name] = progress.get(name, 0) + source["tokens"]
        assert entry["progress"] == progress
        assert entry["tokens_per_second"] == pytest.approx(entry["tokens"] / entry["seconds"])
        flops = training_flops(
            small_recipe().model_config_(),
            length=256,
            tokens=entry["tokens"],
            image_tokens=entry["image_tokens"],
        )
        assert entry["mfu"] == pytest.approx(flops / entry["seconds"] / 1e12)
        assert len(entry["experts"]["entropy"]) == 2


def test_load_is_summed_up_layer_by_layer():
    even, one, some = [2.0] * 4, [8.0, 0, 0, 0], [4.0, 4.0, 0, 0]
    summary = load_summary(torch.tensor([even, one, some]))
    assert summary == {
        "max_over_mean": [1.0, 4.0, 2.0],
        "entropy": [1.0, 0.0, 0.5],
        "dead": [0, 3, 2],
    }


def test_evaluations_are_logged_and_one_that_fails_is_named(run):
    folder, training, said, judged = run
    assert [name for _, name in judged] == ["step-0000002", "step-0000004"]
    assert [facts["step"] for facts, _ in judged] == [2, 4]
    assert judged[0][0]["ema"] == 0.9
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    failed = {"failed": "OSError: no such task"}
    assert lines == [{"step": 2, **failed}, {"step": 4, "world:mini/accuracy": 0.25}]
    entries = read_log(folder)
    assert entries[1]["evaluation"] == failed
    assert entries[3]["evaluation"] == {"world:mini/accuracy": 0.25}
    assert "evaluation" not in entries[2]
    assert "training goes on" in said[0]
    exported = load_file(folder / "evaluations" / "checkpoint" / "model.safetensors")
    average = training.optimizer.whole(ema=True)
    assert all(torch.equal(exported[name], average[name].bfloat16()) for name in average)


def test_the_average_follows_the_weights(tmp_path):
    training = Pretraining(small_recipe(ema=0.75), tmp_path, workers=0)
    expected = {name: weight.clone() for name, weight in training.optimizer.whole().items()}
    for step in (1, 2, 3):
        training.run(until=step)
        now = training.optimizer.whole()
        expected = {name: 0.75 * expected[name] + 0.25 * now[name] for name in now}
    average = Pretraining(small_recipe(ema=0.75), tmp_path, workers=0).optimizer.whole(ema=True)
    for name, weight in expected.items():
        torch.testing.assert_close(average[name], weight)


def test_a_tracker_gets_every_step(run, monkeypatch, tmp_path):
    """What is sent, by the functions that both have."""
    folder, training, _, _ = run
    seen = []

    class Library:
        init = staticmethod(lambda **options: seen.append(options))
        log = staticmethod(lambda metrics, step: seen.append((step, metrics)))
        finish = staticmethod(lambda: seen.append("finished"))

    monkeypatch.setattr("importlib.import_module", lambda name: Library)
    recipe = training.recipe
    for name in ("wandb", "trackio"):
        tracker = Tracker(name, recipe, tmp_path)
        training_folder = tmp_path / name
        training_folder.mkdir()
        (training_folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        Pretraining(recipe, training_folder, workers=0).run(until=1, on_step=tracker)
        tracker.close()
    (wandb, first, end), (trackio, second, _) = seen[:3], seen[3:]
    assert end == "finished"
    assert wandb["id"] in trackio["name"]  # one run of ours, whatever tracks it
    assert first[0] == second[0] == 1
    assert first[1]["loss/text"] == second[1]["loss/text"] > 0
    for name in ("source/text/text_loss", "data/text/tokens", "experts/entropy/layer1"):
        assert name in first[1]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_real_tracker_keeps_a_stopped_run_as_one(tmp_path, name):
    pytest.importorskip(name)
    offline = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    subprocess.run(
        [sys.executable, str(HERE / "track_program.py"), name, str(tmp_path)],
        env={**os.environ, **offline, "PYTHONPATH": f"{ROOT}:{HERE}"},
        check=True,
        timeout=300,
    )
    identifier = (tmp_path / "tracking.txt").read_text().strip()
    if name == "wandb":
        kept = list(tmp_path.glob(f"wandb/offline-run-*-{identifier}/run-{identifier}.wandb"))
        assert kept
        assert all(file.stat().st_size > 500 for file in kept)
        return
    with sqlite3.connect(tmp_path / "trackio" / "unimm-train.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics").fetchall()
    assert {run for run, _, _ in rows} == {f"small-{identifier}"}
    found = [(step, json.loads(metrics)["loss/text"]) for _, step, metrics in rows]
    assert found == [(step, 1.5 * step) for step in (1, 2, 3, 4)]


def test_a_tracker_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="neither wandb nor trackio"):
        Tracker("mlflow", small_recipe(), tmp_path)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UserError, match="trackio is not installed") as caught:
        Tracker("trackio", small_recipe(), tmp_path)
    assert "[track]" in caught.value.fix


def test_a_loss_that_is_not_finite_stops_with_its_batch_and_can_be_skipped(tmp_path):
    training = Pretraining(small_recipe(), tmp_path, workers=0)
    training.run(until=3)

    def poison(entry):
        if entry.step == 4:
            training.model.text_head.weight.data.fill_(float("nan"))

    with pytest.raises(UserError, match=r"step 5: the text loss is not finite") as caught:
        training.run(on_step=poison)
    assert "Add 5 to skip_steps" in caught.value.fix
    place = tmp_path / "stopped-0000005"
    report = json.loads((place / "report.json").read_text())
    assert (report["step"], report["rows"]) == (5, [16, 17, 18, 19])
    assert len(report["sources"]) == 4
    assert {name for row in report["sources"] for name in row} <= {
        *small_recipe().stages[0].mixture
    }
    batch = load_file(place / "batch-0.safetensors")
    assert batch["tokens_BS"].shape == (4, 256)
    again = Pretraining(small_recipe(skip_steps=(5,)), tmp_path, workers=0)
    assert again.step == 3
    again.run()
    assert [entry["step"] for entry in read_log(tmp_path)] == [1, 2, 3, 4, 6, 7, 8]
    with pytest.raises(UserError, match="another recipe"):
        Pretraining(small_recipe(), tmp_path, workers=0)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    training = Pretraining(small_recipe(), tmp_path, workers=0)
    before = training.optimizer.whole()
    before = {name: weight.clone() for name, weight in before.items()}
    training.model.embedding.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UserError, match="gradient is not finite"):
        training.run(until=1)
    after = training.optimizer.whole()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_a_leap_is_told_from_the_noise_of_a_real_run():
    guard = LossGuard()
    with open(ROOT / "results" / "train" / "demo" / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:4000]:
        losses = {"text": float(row["text_loss"]), "flow": float(row["flow_loss"])}
        assert guard.verdict(losses) == "", row["step"]
    assert "times its median" in guard.verdict({"text": 8.0, "flow": losses["flow"]})
    assert guard.verdict(losses) == ""  # a leap is not remembered
    patient = LossGuard(threshold=math.inf)
    patient.replay([losses] * 100)
    assert patient.verdict({"text": 800.0, "flow": 1.0}) == ""


def test_the_cosine_ends_at_the_floor():
    recipe = OptimizerRecipe(learning_rate=2.0, schedule="cosine", warmup_steps=10)
    rates = [learning_rate(step, steps=110, recipe=recipe) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.1)
    middle = (rates[59] + rates[60]) / 2
    assert middle == pytest.approx((2.0 + 0.1) / 2, rel=1e-3)
    with pytest.raises(ValueError, match="decay_steps"):
        OptimizerRecipe(learning_rate=1, schedule="cosine", warmup_steps=1, decay_steps=3)
