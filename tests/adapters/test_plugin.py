"""A third party's distribution, installed: its model, task and judge are used like ours."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where pip put it; nothing of the source is left to import."""
    folder = tmp_path_factory.mktemp("plugin")
    source = folder / "source"
    shutil.copytree(PLUGIN / "fake_bench", source / "fake_bench")
    shutil.copy(PLUGIN / "pyproject.toml", source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    how = ["--no-build-isolation", "--no-compile", "--target", str(folder / "site")]
    subprocess.run([*command, *how, str(source)], check=True, capture_output=True)
    shutil.rmtree(source)
    return folder / "site"


def program(site, *arguments, cwd):
    """`unimm-eval` in a process of its own, in a folder that holds nothing."""
    path = os.pathsep.join([str(site), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "unimm_eval.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_listed(site, tmp_path):
    done = program(site, "models", "--json", cwd=tmp_path)
    listed = json.loads(done.stdout)
    assert listed["models"]["fake"]["capabilities"] == [
        "GeneratesText", "ReadsPictures", "GeneratesImages",
    ]  # fmt: skip
    assert listed["judges"]["strict"] == {"summary": "a judge for tests", "examples": ["strict"]}
    assert "judged" in program(site, "tasks", cwd=tmp_path).stdout


def test_its_model_answers_its_task_and_its_judge_judges(site, tmp_path):
    arguments = ["--model", "fake", "--tasks", "judged,colours:mini", "--limit", "5"]
    more = ["--set", "judged.judge=strict", "--device", "cpu", "--output", "run"]
    done = program(site, *arguments, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert record["model"]["name"] == "fake"
    rows = {row["task"]: row for row in record["results"] if row["metric"] == "accuracy"}
    assert rows["judged"]["facts"]["judge"] == "strict@1"
    assert (rows["judged"]["value"], rows["judged"]["n"]) == (1.0, 5)
    assert rows["colours:mini"]["n"] == 5


def test_what_its_model_cannot_do_is_refused_by_name(site, tmp_path):
    done = program(site, "--model", "fake:blind", "--tasks", "geneval:mini", cwd=tmp_path)
    assert done.returncode == 2
    assert "fake:blind cannot run geneval:mini: it lacks GeneratesImages" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_files_beside_the_source_say_the_same(site):
    """The suite's other tests read the metadata in the repository, not an installed copy."""
    (installed,) = site.glob("*.dist-info")
    ours = PathDistribution(PLUGIN / "fake_bench-1.0.dist-info").entry_points
    assert set(PathDistribution(installed).entry_points) == set(ours)
