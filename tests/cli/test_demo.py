"""The shipped demo, as a newcomer meets it."""

import json

import pytest

from unimm_eval.adapters.unimm import DEMO
from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program
from unimm_eval.engine.registry import task_entries
from unimm_eval.model.checkpoint import FILES


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    command = ["--model", "demo", "--tasks", "mini", "--limit", "12", "--output", str(folder)]
    assert run_program(app, command) == 0
    assert (folder / "report.html").stat().st_size > 10_000
    return json.loads((folder / "results.json").read_text())


def value(record, task, metric):
    for row in record["results"]:
        if (row["task"], row["metric"]) == (task, metric):
            return row
    raise KeyError(metric)


def test_the_checkpoint_is_whole_and_small():
    assert sorted(path.name for path in DEMO.iterdir()) == sorted(FILES)
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= 20e6


def test_every_mini_task_gives_its_numbers_labelled_mini(record):
    tasks = {row["task"] for row in record["results"]}
    assert tasks == {name for name, entry in task_entries().items() if entry.card.mini}
    assert tasks >= {
        "cc12m:mini",
        "dclm:mini",
        "fid:mini",
        "geneval:mini",
        "vqa16:mini",
        "wise:mini",
    }
    assert all(row["mini"] and row["limited"] for row in record["results"])


def test_the_demo_is_far_above_chance(record):
    perplexity = value(record, "dclm:mini", "perplexity")
    assert perplexity["value"] < perplexity["chance"] / 50
    flow = value(record, "cc12m:mini", "flow_loss")
    assert flow["value"] < flow["chance"] / 50
    images = value(record, "geneval:mini", "images")
    assert images["interval"][0] > images["chance"]
