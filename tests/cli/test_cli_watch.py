"""Checkpoints of a training run are judged as they land, each once, and gated."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
from small_recipe import small_recipe

from unimm_eval.api import UserError
from unimm_eval.cli.watch import Watch
from unimm_eval.train.pretrain import Pretraining


@pytest.fixture
def run(tmp_path):
    Pretraining(small_recipe(steps=9), tmp_path / "train", workers=0).run(until=6)
    return tmp_path / "train"


def watched(run, **changes):
    settings = {"tasks": "dclm:mini", "limit": 4, "settings": {}, "margins": {}, "device": "cpu"}
    return Watch(run=run, output=run.parent / "watch", **settings | changes)


def lines(run):
    text = (run.parent / "watch" / "watch.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_what_lands_is_judged_once_until_training_ends(run, monkeypatch):
    said: list[str] = []
    assert watched(run).follow(once=True, every=1, say=said.append) == 0
    assert [line["step"] for line in lines(run)] == [3, 6]
    assert [line.split(":")[0] for line in said] == ["step 6", "step 3"]
    assert lines(run)[0]["tokens"] < lines(run)[1]["tokens"]
    assert {*lines(run)[0]["headlines"]} == {"dclm:mini"}
    assert (run.parent / "watch" / "watch.png").stat().st_size > 1000
    assert sorted(path.name for path in run.glob("state-*")) == ["state-0000003", "state-0000006"]

    # Training goes on while it waits, and removes the oldest state.
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        Pretraining(small_recipe(steps=9), run, workers=0).run()

    monkeypatch.setattr("unimm_eval.cli.watch.time.sleep", sleep)
    said.clear()
    assert watched(run).follow(once=False, every=7, say=said.append) == 0
    assert looks == [7]
    assert [line["step"] for line in lines(run)] == [3, 6, 9]
    assert [line.split(":")[0] for line in said] == ["step 9"]
    left = {path.name for path in (run.parent / "watch").iterdir()}
    assert left == {
        "step-0000003",
        "step-0000006",
        "step-0000009",
        "watch.jsonl",
        "watch.png",
    }


def test_the_newest_checkpoint_is_gated(run):
    watched(run).follow(once=True, every=1, say=lambda _: None)
    baseline = shutil.copytree(run.parent / "watch" / "step-0000006", run.parent / "baseline")
    said: list[str] = []
    shutil.rmtree(run.parent / "watch" / "step-0000006")
    code = watched(run, baseline=baseline).follow(once=True, every=1, say=said.append)
    assert (run.parent / "watch" / "step-0000006" / "gate" / "gate.json").is_file()
    assert said[0].endswith(("PASS", "INCONCLUSIVE"))
    assert code in (0, 3)


def test_a_folder_that_is_no_training_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a training run"):
        watched(tmp_path / "train").follow(once=True, every=1, say=print)


def test_a_run_that_saved_nothing_is_incomplete(run):
    shutil.rmtree(run / "state-0000003")
    shutil.rmtree(run / "state-0000006")
    said: list[str] = []
    assert watched(run).follow(once=True, every=1, say=said.append) == 3
    assert "nothing was saved" in said[0]
