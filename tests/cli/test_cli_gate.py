"""`unimm-eval gate RUN --baseline RECORD`: what it decides, says, writes and refuses."""

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from cli_program import Program, is_one_message

from unimm_eval import evaluate

PLUGIN = Path(__file__).parents[1] / "plugin"
COLOURS = "colours:mini"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base` and `other`, of two seeds of one model; `worse`, of a model that draws every third
    colour in black; `shaded`, of another protocol; `few` and `few2`, like the first two but
    limited; `words`, without colours."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)

        def run(name: str, tasks: str, **options: Any) -> None:
            evaluate("fake", tasks, output=folder / name, **options)

        run("base", f"{COLOURS},echo")
        run("other", f"{COLOURS},echo", seed=1)
        run("shaded", COLOURS, settings={COLOURS: {"shade": 0.5}})
        run("few", COLOURS, limit=60)
        run("few2", COLOURS, limit=60, seed=1)
        run("words", "echo")

        import fake_bench.model as model

        right = model._picture
        patch.setattr(
            model,
            "_picture",
            lambda request: right(request) * (int(request.sample_id[:6], 16) % 3 > 0),
        )
        patch.setattr(model.FakeModel, "fingerprint", "bad" * 21)
        run("worse", COLOURS)
    return folder


@pytest.fixture
def runs(made: Path, program: Program, tmp_path: Path) -> Program:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return program


def gate(program: Program, run: str, *options: str):
    return program("gate", run, "--baseline", "base", *options)


def verdicts(folder: str = "other") -> dict[str, str]:
    document = json.loads(Path(folder, "gate", "gate.json").read_text(encoding="utf-8"))
    return {task["task"]: task["ruling"]["verdict"] for task in document["tasks"]}


def test_another_seed_passes(runs: Program) -> None:
    ended = gate(runs, "other", "--tasks", COLOURS, "--margin", f"{COLOURS}=0.25")
    assert (ended.code, ended.err) == (0, "")
    assert verdicts() == {COLOURS: "pass"}
    assert "seed: 0 in A, 1 in B" in ended.out
    assert "Not gated: echo" in ended.out
    assert ended.out.rstrip().endswith("PASS")
    document = json.loads(Path("other/gate/gate.json").read_text(encoding="utf-8"))
    (task,) = document["tasks"]
    assert (document["verdict"], document["exit_code"], task["margin"]) == ("pass", 0, 0.25)
    ruling = task["ruling"]
    assert ruling["gain"] == pytest.approx(task["run"] - task["baseline"])
    assert -0.25 < ruling["least"] < ruling["gain"]
    assert 0 < ruling["smallest_effect"] < 0.25
    assert (task["paired"], task["n"], task["clusters"]) == (True, 120, 40)


def test_a_worse_model_fails_and_says_so_everywhere(
    runs: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "steps.md")
    Path("steps.md").write_text("before\n", encoding="utf-8")
    ended = gate(runs, "worse", "--tasks", COLOURS)
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.rstrip().endswith("FAIL")
    summary = Path("worse/gate/summary.md").read_text(encoding="utf-8")
    assert Path("steps.md").read_text(encoding="utf-8") == f"before\n{summary}\n"
    assert "### unimm-eval gate: FAIL" in summary
    suite = ET.parse("worse/gate/junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    (problem,) = suite.iter("failure")
    assert "Smallest effect" in problem.text


def test_a_margin_that_cannot_be_resolved_is_code_2(runs: Program) -> None:
    ended = gate(runs, "other", "--tasks", COLOURS, "--margin", f"{COLOURS}=0.01")
    assert ended.code == 2
    assert verdicts() == {COLOURS: "unresolvable"}
    assert "it takes a margin of" in ended.out
    assert "times the samples" in ended.out


def test_a_task_that_the_run_lacks_is_code_3(runs: Program) -> None:
    ended = gate(runs, "words", "--margin", f"{COLOURS}=0.3", "--margin", "echo=0.9")
    assert ended.code == 3
    assert verdicts("words") == {COLOURS: "inconclusive", "echo": "pass"}
    assert f"{COLOURS}: the run lacks this task" in ended.out
    suite = ET.parse("words/gate/junit.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


def test_margins_come_from_a_file_and_the_command_line_wins(runs: Program) -> None:
    Path("margins.yaml").write_text(f"{COLOURS}: 40%\necho: 0.9\n", encoding="utf-8")
    options = ("--margins", "margins.yaml", "--margin", "echo=0.8")
    assert gate(runs, "other", *options).code == 0
    document = json.loads(Path("other/gate/gate.json").read_text(encoding="utf-8"))
    colours, echo = document["tasks"]
    assert colours["margin"] == pytest.approx(0.4 * colours["baseline"])
    assert echo["margin"] == 0.8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--margin", "colours:mni=0.1"), "did you mean colours:mini?"),
        (("--margin", "0.1"), "is no margin"),
        (("--margin", "echo=-1"), "'-1' is no margin"),
        (("--margin", "echo=nan"), "'nan' is no margin"),
        (("--tasks", "nothing"), "has no task nothing"),
        (("--margins", "absent.yaml"), "absent.yaml cannot be read"),
        (("--baseline", "absent.json"), "absent.json cannot be read"),
        (("--baseline", "absent"), "absent is not the folder of a run"),
    ],
)
def test_what_cannot_be_meant_is_refused(runs: Program, options: tuple[str, str], said: str):
    ended = gate(runs, "other", *options)
    assert ended.code == 2
    assert said in ended.err
    assert is_one_message(ended)


def test_other_protocols_and_other_samples_are_refused_by_field(runs: Program) -> None:
    ended = gate(runs, "shaded", "--tasks", COLOURS)
    assert ended.code == 2
    assert "set.shade: absent in A, 0.5 in B" in ended.err
    ended = gate(runs, "few", "--tasks", COLOURS)
    assert ended.code == 2
    assert "other samples: 60 in the run, 120 in the baseline" in ended.err


def test_equally_limited_runs_are_held_against_each_other_and_marked(runs: Program) -> None:
    ended = runs("gate", "few2", "--baseline", "few", "--margin", f"{COLOURS}=0.5")
    assert ended.code == 0
    assert "(limited)" in ended.out
    assert "limited" in Path("few2/gate/summary.md").read_text(encoding="utf-8")


def test_a_published_record_with_its_scores_is_a_baseline(runs: Program) -> None:
    """Without the store, the pictures and the plan of the run, the decision is the same."""
    options = ("--tasks", COLOURS, "--margin", f"{COLOURS}=0.25")
    gate(runs, "other", *options)
    direct = json.loads(Path("other/gate/gate.json").read_text(encoding="utf-8"))
    Path("results/fake").mkdir(parents=True)
    shutil.copy("base/results.json", "results/fake/base.json")
    shutil.copytree("base/samples", "results/fake/base/samples")
    shutil.rmtree("base")
    ended = runs("gate", "other", "--baseline", "results/fake/base.json", *options)
    assert ended.code == 0
    published = json.loads(Path("other/gate/gate.json").read_text(encoding="utf-8"))
    assert published["tasks"] == direct["tasks"]
    ended = runs("compare", "results/fake/base.json", "other", "--html", "page.html")
    assert ended.code == 0
    assert "no picture" in Path("page.html").read_text(encoding="utf-8")
    scores = Path("results/fake/base/samples/colours--mini.parquet")
    scores.write_bytes(scores.read_bytes()[:-9])
    ended = runs("gate", "other", "--baseline", "results/fake/base.json", *options)
    assert ended.code == 2
    assert f"{scores} is not what its record names" in ended.err
    assert is_one_message(ended)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text[: len(text) // 2], "results.json ends in the middle"),
        (lambda text: text.replace('"value": 0.', '"value": 0.9', 1), "changed after it was"),
        (
            lambda text: text.replace('"schema_version": 2', '"schema_version": 99', 1),
            "schema version 99",
        ),
        (lambda text: text.replace('"model": {', '"model": {}, "model": {', 1), "twice"),
    ],
)
def test_spoilt_records_are_named_and_refused(runs: Program, spoil, said: str) -> None:
    record = Path("base/results.json")
    record.write_text(spoil(record.read_text(encoding="utf-8")), encoding="utf-8")
    for ended in (gate(runs, "other"), runs("compare", "base", "other")):
        assert ended.code == 2
        assert said in ended.err
        assert "base/results.json" in ended.err
        assert is_one_message(ended)
