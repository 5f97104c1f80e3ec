"""Studies: recipes that extend others, expansion, and runs that end in a table."""

import csv
import json
from functools import partial
from pathlib import Path

import pytest
import yaml
from small_recipe import small_recipe

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.cli.program import run_program
from unimm_eval.cli.train import app
from unimm_eval.scaling import read_points
from unimm_eval.train import held_out, pretrain, sweep_run
from unimm_eval.train.budget import resolved
from unimm_eval.train.inherit import laid_over, read_values
from unimm_eval.train.recipe import load_recipe, save_recipe
from unimm_eval.train.sweep import load_sweep
from unimm_eval.train.sweep_run import chosen, train_runs
from unimm_eval.train.sweep_seeds import compare_seeds


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def study(tmp_path, write, monkeypatch):
    """Two runs of three steps on the world."""
    few = partial(held_out.held_out_losses, documents=3)
    monkeypatch.setattr(sweep_run, "held_out_losses", few)
    monkeypatch.setattr(pretrain, "TOKENIZER_DOCUMENTS", 100)
    save_recipe(tmp_path / "base.yaml", small_recipe(save_every=1))
    return write(
        "study.yaml",
        """
extends: base.yaml
name: study
steps: 3
model: {feed_forward: shared, hidden_dim: 32, shared_experts: none}
optimizer: {warmup_steps: 1, decay_steps: 1}
mixture: {text: 0.5, text_to_image: 0.5}
sweep:
  about: two targets
  axes:
    target:
      x: {model: {prediction: x}}
      v: {model: {prediction: v}}
""",
    )


# Files that extend others


def test_a_file_is_laid_over_what_it_extends(write):
    write("far.yaml", "a: {x: 1, y: 2}\nlist: [1, 2]\nkept: 0\n")
    write("near.yaml", "extends: far.yaml\na: {y: 3}\ngone: 1\n")
    write("beside.yaml", "a: {z: 4}\nlist: [3]\n")
    path = write("file.yaml", "extends: [near.yaml, beside.yaml]\ngone:\na: {x: }\n")
    assert read_values(path) == {"a": {"y": 3, "z": 4}, "list": [3], "kept": 0}


@pytest.mark.parametrize(
    ("base", "changes", "left"),
    [
        ({"steps": 5}, {"tokens": 100}, {"tokens": 100}),
        ({"tokens": {"a": 1}}, {"tokens": {"b": 2}}, {"tokens": {"a": 1, "b": 2}}),
        ({"tokens": {"a": 1}}, {"mixture": {"b": 1}}, {"mixture": {"b": 1}}),
        ({"steps": 5, "mixture": {"a": 1}}, {"tokens": {"b": 2}}, {"tokens": {"b": 2}}),
        ({"stages": [1]}, {"mixture": {"a": 1}}, {"mixture": {"a": 1}}),
    ],
)
def test_saying_it_one_way_takes_the_others_away(base, changes, left):
    assert laid_over(base, changes) == left


def test_length_and_mixture_follow_from_tokens():
    fields = {"rows": 2, "length": 10, "tokens": {"a": "3e2", "b": 100, "c": 0}}
    found = resolved(fields)
    assert found["steps"] == 20
    assert found["stages"] == [{"from_step": 0, "mixture": {"a": 0.75, "b": 0.25}}]
    assert "tokens" not in found


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"f.yaml": "extends: none.yaml\n"}, "extends none.yaml"),
        ({"f.yaml": "extends: g.yaml\n", "g.yaml": "extends: f.yaml\n"}, "extends itself"),
        ({"f.yaml": "extends: f.yaml\n"}, "extends itself"),
        ({"f.yaml": "extends: 3\n"}, "extends: not the name"),
        ({"f.yaml": "a: 1\na: 2\n"}, "stands twice"),
        ({"f.yaml": "[1, 2]\n"}, "a table of fields"),
        ({"f.yaml": "a: [1\n"}, "cannot be read as YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(write, files, said):
    for name, text in files.items():
        write(name, text)
    path = write("f.yaml", files["f.yaml"])
    with pytest.raises(UserError, match=r"f\.yaml") as error:
        read_values(path)
    assert said in error.value.what


# Expansion


def _with(study: Path, **sweep) -> Path:
    values = yaml.safe_load(study.read_text())
    values["sweep"].update(sweep)
    study.write_text(yaml.safe_dump(values, sort_keys=False))
    return study


def test_runs_have_stable_names_and_their_changes(study):
    axes = {
        "target": {"x": {"model": {"prediction": "x"}}, "v": {"model": {"prediction": "v"}}},
        "seed": {"s0": {"seed": 0}, "s1": {"seed": 1}},
    }
    sweep = load_sweep(_with(study, axes=axes, leave_out=["v-s1"], law=["target"]))
    assert [run.name for run in sweep.runs] == ["study-x-s0", "study-x-s1", "study-v-s0"]
    assert [run.arch for run in sweep.runs] == ["dense-x", "dense-x", "dense-v"]
    assert [run.recipe.seed for run in sweep.runs] == [0, 1, 0]
    assert sweep.runs[2].recipe.model["prediction"] == "v"


def test_a_value_takes_inherited_fields_away(study):
    without = {"mixture": {"text": None, "text_to_image": 1.0}, "clean_share": None}
    axes = {"data": {"t2i": without, "both": {}}}
    runs = load_sweep(_with(study, axes=axes)).runs
    assert runs[0].recipe.stages[0].mixture == {"text_to_image": 1.0}
    assert runs[1].recipe.stages[0].mixture == {"text": 0.5, "text_to_image": 0.5}


def test_runs_that_are_the_same_are_run_once(study):
    axes = {"seed": {"a": {"seed": 0}, "b": {}, "c": {"seed": 2}}}
    runs = load_sweep(_with(study, axes=axes)).runs
    assert [(run.name, run.same) for run in runs] == [
        ("study-a", ("study-b",)),
        ("study-c", ()),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"axes": {"target": {"x": {"modell": {}}}}}, "modell"),
        ({"axes": {"target": {"x": {"model": {"size": 3}}}}}, "unknown fields: size"),
        ({"axes": {"target": {"x": {"tokens": 1}}}}, "less than a step"),
        ({"axes": {"target": {"x": {"mixture": {"text": 0.4}}}}}, "sum to 0.9"),
        ({"axes": {"target": {"x": {"mixture": {"dclm": 0.5, "text": None}}}}}, "dclm"),
        ({"axes": {"target": {"A b": {}}}}, "sweep: axes.target.A b"),
        ({"axes": {}}, "sweep: axes"),
        ({"grid": {}}, "sweep: grid"),
        ({"leave_out": ["y*"]}, "y* fits no combination"),
        ({"leave_out": ["*"]}, "no run is left"),
        ({"law": ["size"]}, "no axis size"),
    ],
)
def test_a_study_that_cannot_be_is_refused_by_name(study, change, said):
    with pytest.raises(UserError, match=r"study\.yaml") as error:
        load_sweep(_with(study, **change))
    assert said in error.value.what


def test_a_study_is_no_recipe_and_a_recipe_no_study(study, tmp_path):
    with pytest.raises(UserError, match="unimm-train sweep"):
        load_recipe(study)
    with pytest.raises(UserError, match="unimm-train pretrain"):
        load_sweep(tmp_path / "base.yaml")


def test_only_and_shards_divide_the_runs(study):
    sweep = load_sweep(study)
    x, v = sweep.runs
    assert chosen(sweep, only=["*-v"], shard="1/1") == [v]
    assert [chosen(sweep, only=(), shard=f"{i}/2") for i in (1, 2)] == [[x], [v]]
    for only, shard in ((["nothing"], "1/1"), ([], "3/2"), ([], "0/1"), ([], "half")):
        with pytest.raises(UserError):
            chosen(sweep, only=only, shard=shard)


# Runs


def _sweep(study: Path, output: Path, *options: str) -> int:
    return run_program(app, ["sweep", str(study), "--output", str(output), *options])


def test_a_study_interrupted_and_gone_on_with_is_one_that_was_not(study, tmp_path, monkeypatch):
    assert _sweep(study, tmp_path / "whole") == 0
    real = pretrain.Pretraining.run
    calls = []

    def stops(self, **options):
        """After the first run, in the middle of the second."""
        calls.append(self.recipe.name)
        if len(calls) == 2:
            real(self, until=2)
            raise IncompleteError("stopped after step 2; the state is saved")
        real(self, **options)

    output = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(sweep_run.Pretraining, "run", stops)
        assert _sweep(study, output) == 3
    assert len(list(csv.DictReader((output / "runs.csv").open()))) == 2  # the first run's
    before = (output / "study-x" / "done.json").stat().st_mtime_ns
    assert _sweep(study, output) == 0
    assert (output / "study-x" / "done.json").stat().st_mtime_ns == before
    for name in ("runs.csv", "runs.json"):
        assert (output / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_the_table_is_what_scaling_reads(study, tmp_path, capsys):
    assert _sweep(study, tmp_path / "out", "--only", "study-v") == 0
    assert "1 of 2 runs are done" in capsys.readouterr().out
    points = read_points(tmp_path / "out" / "runs.csv").points
    run = load_sweep(study).runs[1]
    facts = json.loads((tmp_path / "out" / "runs.json").read_text())["runs"]
    assert [facts[0]["run"]] == [run.name]
    assert {point.modality for point in points} == {"language", "vision"}
    for point in points:
        assert point.loss == facts[0]["held_out"][point.modality]["loss"] > 0
        assert point.size == facts[0]["active_params"] == facts[0]["params"]
        assert point.tokens == facts[0]["tokens"] <= 3 * run.recipe.rows * run.recipe.length
    assert (tmp_path / "out" / "study-v" / "checkpoint" / "config.json").is_file()


def _losses(**choices: list[float]) -> list[dict]:
    return [
        {"labels": {"ffn": name, "seed": f"s{n}"}, "held_out": {"language": {"loss": loss}}}
        for name, losses in choices.items()
        for n, loss in enumerate(losses)
    ]


def test_seeds_say_whether_the_order_is_that_of_the_paper(study):
    sweep = load_sweep(_with(study, lowest_first=["a", "b", "c"]))
    rows = _losses(a=[1.00, 1.10, 1.05], b=[1.20, 1.31, 1.24], c=[1.19, 1.32, 1.24])
    (found,) = compare_seeds(sweep, rows)
    assert found.losses["a"].value == pytest.approx(1.05)
    first, second = found.steps
    assert (first.lower, first.higher, first.verdict) == ("a", "b", "as in the paper")
    low, high = first.difference.interval  # 0.2, ± 4.303 · 0.01 / √3 …
    assert (low, high) == pytest.approx((0.2 - 0.0248, 0.2 + 0.0248), abs=1e-3)
    assert second.verdict.endswith("within noise")
    assert not found.reproduced
    (mirrored,) = compare_seeds(sweep, _losses(a=[2.0, 2.1, 2.05], b=[1.0, 1.11, 1.04]))
    assert [step.verdict for step in mirrored.steps] == ["the other way round"]
    assert compare_seeds(sweep, _losses(a=[1.0], b=[1.1])) == []
    assert compare_seeds(sweep, [{"labels": {"ffn": "a"}, "held_out": {}}]) == []


def test_a_folder_of_another_recipe_is_refused(study, tmp_path):
    output = tmp_path / "out"
    assert _sweep(study, output, "--only", "study-x") == 0
    study.write_text(study.read_text().replace("warmup_steps: 1", "warmup_steps: 2"))
    with pytest.raises(UserError, match="another recipe"):
        train_runs(sweep := load_sweep(study), sweep.runs, output, on_run=lambda *_: None)


def test_held_out_losses_are_of_what_was_trained_and_of_no_training_row(study, tmp_path):
    one = {"text": None, "text_to_image": None}
    axes = {"data": {name: {"mixture": {**one, name: 1.0}} for name in ("text", "rooms")}}
    output = tmp_path / "out"
    assert _sweep(_with(study, axes=axes), output) == 0
    rows = list(csv.DictReader((output / "runs.csv").open()))
    assert [row["modality"] for row in rows] == ["language", "navigation"]
    checkpoint = output / "study-text" / "checkpoint"
    losses = held_out.held_out_losses(checkpoint, ["language"], documents=3)
    assert losses["language"].loss == float(rows[0]["loss"])


def test_a_dry_run_prints_what_it_would_cost_and_writes_nothing(study, tmp_path, capsys):
    assert run_program(app, ["sweep", str(study), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "study-x" in printed
    assert "2 runs" in printed
    assert "35% of 989 TFLOP/s" in printed
    command = ["sweep", str(study), "--dry-run", "--json", "--mfu", "0.5"]
    assert run_program(app, command) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["total"]["tokens"] == sum(run["tokens"] for run in facts["runs"])
    assert facts["total"]["gpu_hours"] == pytest.approx(
        facts["total"]["flops"] / (0.5 * 989e12) / 3600
    )
    assert not (tmp_path / "out").exists()
    assert run_program(app, ["sweep", str(study)]) == 2
    assert "--output" in capsys.readouterr().err
    assert run_program(app, ["sweep", str(study), "--dry-run", "--mfu", "2"]) == 2
