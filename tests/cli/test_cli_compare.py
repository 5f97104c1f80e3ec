"""`unimm-eval compare A B` on a terminal and as JSON."""

import json
from pathlib import Path

import pytest
from cli_program import Program, is_one_message

from unimm_eval.cli.compare import SHOWN


@pytest.fixture
def two_runs(program: Program) -> Program:
    """Runs `a` and `b` of two seeds; only `a` has the task `echo`."""
    for name, seed, tasks in (("a", "0", "colours:mini,echo"), ("b", "1", "colours:mini")):
        program("--model", "fake", "--tasks", tasks, "--seed", seed, "--output", name)
    return program


def test_differences_are_shown_and_are_no_error(two_runs: Program) -> None:
    ended = two_runs("compare", "a", "b")
    assert (ended.code, ended.err) == (0, "")
    whole = json.loads(two_runs("compare", "a", "b", "--json").out)
    (task,) = whole["tasks"]
    flips, samples = task["flips"], task["samples"]
    changed = samples["better"] + samples["worse"]
    assert changed > SHOWN
    lines = ended.out.splitlines()
    assert "   seed: 0 in A, 1 in B" in lines
    assert "Only in A: echo" in lines
    assert f"colours:mini: {samples['better']} samples better in B" in ended.out
    assert f"{len(flips):,} verdicts flipped" in ended.out
    assert sum("correct 1 → 0" in line or "correct 0 → 1" in line for line in lines) == SHOWN
    assert f"  … and {changed - SHOWN} more: --html FILE shows them, --json lists flips" in lines
    metric = task["metrics"][0]
    change = metric["change"]
    assert change["value"] == pytest.approx(metric["b"] - metric["a"])
    assert f"± {change['stderr']:.3f}" in ended.out
    assert f"{metric['p_holm']:.3f}" in ended.out
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


def test_nothing_is_different_from_itself(two_runs: Program) -> None:
    ended = two_runs("compare", "a", "a")
    assert ended.code == 0
    assert "0 verdicts flipped" in ended.out
    assert "<0.0001" not in ended.out
    assert "echo: 2 outputs without a score in A or B, left out" in ended.out
    assert ended.out.count("all") == 2


def test_what_cannot_be_compared_is_said_after_what_can(two_runs: Program) -> None:
    two_runs(
        "--model", "fake", "--tasks", "colours:mini,echo", "--output", "c",
        "--set", "colours:mini.shade=0.5",
    )  # fmt: skip
    ended = two_runs("compare", "a", "c")
    assert ended.code == 2
    assert "echo" in ended.out
    assert "colours:mini is not compared, since its protocols differ: set.shade" in ended.err
    ended = two_runs("compare", "b", "c", "--json")
    assert ended.code == 2
    assert json.loads(ended.out)["tasks"] == []


def test_a_page_shows_what_changed_with_its_pictures(two_runs: Program, tmp_path: Path) -> None:
    ended = two_runs("compare", "a", "b", "--html", "page.html")
    assert (ended.code, ended.err) == (0, "")
    assert "page    page.html" in ended.out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") > SHOWN
    assert not any(sign in page for sign in ("<script", "http:", "https:", "\x1b", "\u202e"))
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("other", "said"),
    [("nowhere", "nowhere is not the folder of a run"), ("d", "have no task in common")],
)
def test_what_is_no_pair_is_refused(two_runs: Program, other: str, said: str) -> None:
    two_runs("--model", "fake", "--tasks", "echo", "--output", "d")
    ended = two_runs("compare", "b", other)
    assert ended.code == 2
    assert said in ended.err
    assert is_one_message(ended)
