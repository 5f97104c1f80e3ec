"""`unimm-eval compare A B` on a terminal and as JSON."""

import json

import pytest
from cli_program import Program, is_one_message

from unimm_eval.cli.compare import SHOWN_FLIPS


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
    flips = task["flips"]
    assert len(flips) > SHOWN_FLIPS
    lines = ended.out.splitlines()
    assert "   seed: 0 in A, 1 in B" in lines
    assert "Only in A: echo" in lines
    assert f"{len(flips):,} verdicts flipped" in lines
    assert sum("correct 1 → 0" in line or "correct 0 → 1" in line for line in lines) == SHOWN_FLIPS
    assert f"  … and {len(flips) - SHOWN_FLIPS} more: --json lists all of them" in lines
    assert "no p-values are given" in ended.out
    (score,) = task["scores"]
    change = score["difference"]
    assert change["value"] == pytest.approx(score["b"] - score["a"])
    assert f"± {change['stderr']:.3f}" in ended.out
    assert "\x1b" not in ended.out
    assert "\u202e" not in ended.out


def test_nothing_is_different_from_itself(two_runs: Program) -> None:
    ended = two_runs("compare", "a", "a")
    assert ended.code == 0
    assert "0 verdicts flipped" in ended.out
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
