"""`unimm-train` from a recipe to a checkpoint, its twin and its loss curve."""

import csv
import json

import pytest
from small_recipe import small_recipe

from unimm_eval.cli.program import run_program
from unimm_eval.cli.train import app
from unimm_eval.train.log import read_log
from unimm_eval.train.recipe import save_recipe


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    save_recipe(path, small_recipe())
    return path


def test_a_recipe_becomes_a_checkpoint_that_can_be_judged(recipe, tmp_path, capsys):
    run, checkpoint, twin = tmp_path / "run", tmp_path / "checkpoint", tmp_path / "twin"
    assert run_program(app, ["pretrain", str(recipe), "--output", str(run), "--until", "2"]) == 0
    command = ["pretrain", str(recipe), "--output", str(run), "--log-every", "4"]
    assert run_program(app, command) == 0
    printed = capsys.readouterr().out
    assert "going on from step 2 of 8" in printed
    assert "step 8/8" in printed
    assert run_program(app, ["export", str(run), "--output", str(checkpoint)]) == 0
    assert run_program(app, ["twin", str(checkpoint), "--output", str(twin)]) == 0
    assert run_program(app, ["curve", str(run), "--output", str(tmp_path)]) == 0
    with open(tmp_path / "log.csv", newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(n) for n in range(1, 9)]
    assert (tmp_path / "curve.png").stat().st_size > 1000

    from unimm_eval import evaluate

    for folder in (checkpoint, twin):
        record = evaluate(str(folder), "dclm:mini", limit=2, output=tmp_path / f"{folder.name}-run")
        assert record.get("dclm:mini").value > 1


def test_a_run_is_judged_on_the_way_by_the_public_evaluate(recipe, tmp_path, capsys):
    run = tmp_path / "run"
    command = ["pretrain", str(recipe), "--output", str(run), "--until", "2", "--async-save"]
    command += ["--evaluate", "dclm:mini", "--evaluate-every", "1", "--evaluate-limit", "2"]
    command += ["--peak-flops", "1e12", "--recompute", "--workers", "0", "--device", "cpu"]
    assert run_program(app, command) == 0
    assert "dclm:mini/" in capsys.readouterr().out
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    first, second = ({k: v for k, v in line.items() if k != "step"} for line in lines)
    assert first.keys() == second.keys()
    assert first != second
    entries = read_log(run)
    assert [entry["evaluation"] for entry in entries] == [first, second]
    assert all(0 < entry["mfu"] < 1 for entry in entries)


@pytest.mark.parametrize(
    "command",
    [
        ["pretrain", "missing.yaml", "--output", "out"],
        ["export", "nowhere", "--output", "out"],
        ["twin", "nowhere", "--output", "out"],
        ["curve", "nowhere", "--output", "out"],
    ],
)
def test_what_is_not_there_is_one_message(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_program(app, command) == 2
    message = capsys.readouterr().err
    assert command[1] in message
    assert "Traceback" not in message
    assert not (tmp_path / "out").exists()
