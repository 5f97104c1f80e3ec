"""`unimm-eval --model … --tasks …`: tables, files, options and how it ends."""

import json
from pathlib import Path

import pytest
from cli_program import Program, is_one_message


def test_a_run_leaves_a_table_a_record_and_a_report(program: Program, tmp_path: Path) -> None:
    ended = program("--model", "fake", "--tasks", "colours:mini,echo", "--output", "run")
    assert ended.code == 0, ended.err
    assert "colours:mini" in ended.out
    assert "0.833 ± 0.038" in ended.out
    assert "0.744 to 0.896" in ended.out
    assert "run/report.html" in ended.out
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [row["task"] for row in record["results"]] == ["colours:mini", "echo"]
    assert (tmp_path / "run" / "report.html").is_file()


def test_progress_is_plain_lines_without_a_terminal(program: Program) -> None:
    ended = program("--model", "fake", "--tasks", "echo")
    assert "echo: started" in ended.err
    assert "echo: accuracy 1.000 ± 0.000" in ended.err
    assert "\x1b" not in ended.err + ended.out


def test_the_same_command_continues_and_agrees(program: Program) -> None:
    first = program("--model", "fake", "--tasks", "echo")
    second = program("--model", "fake", "--tasks", "echo")
    assert second.code == 0
    assert "8 of 10 are done already" in second.err  # two were unscored, which is never final
    table = [line for line in first.out.splitlines() if "accuracy" in line]
    assert table == [line for line in second.out.splitlines() if "accuracy" in line]


def test_limited_runs_say_so(program: Program) -> None:
    ended = program("--model", "fake", "--tasks", "colours:mini", "--limit", "30")
    assert "colours:mini (limited)" in ended.out


def test_a_dry_run_writes_nothing(program: Program, tmp_path: Path) -> None:
    ended = program("--model", "fake", "--tasks", "colours:mini", "--batch-size", "50", "--dry-run")
    assert ended.code == 0, ended.err
    assert "120 outputs in all" in ended.out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_what_would_be_left_out(program: Program) -> None:
    ended = program("--model", "fake:blind", "--tasks", "colours:*,echo", "--dry-run")
    assert ended.code == 0
    assert "colours:mini is left out: the model lacks GeneratesImages" in ended.err
    prices = ("--set", "judged.judge_price=[2, 8]", "--set", "judged.judge_tokens=[1000, 500]")
    judge = ("--set", "judged.judge=strict")
    ended = program("--model", "fake", "--tasks", "judged", *judge, *prices, "--dry-run")
    assert "$0.04" in ended.out  # six questions


def test_the_command_line_wins_over_the_file(program: Program, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        "model: fake\ntasks: [echo, colours:mini]\nbatch-size: 7\noutput: from-file\n"
        "limit: 5\nset:\n  colours:mini: {shade: 0.5}\n"
    )
    ended = program("--config", "run.yaml", "--limit", "4", "--set", "colours:mini.explode=false")
    assert ended.code == 0, ended.err
    document = json.loads((tmp_path / "from-file" / "run.json").read_text())
    assert document["settings"]["colours:mini"] == {"limit": None, "shade": 0.5, "explode": False}
    assert document["identity"]["tasks"]["colours:mini"]["samples"] == 4
    assert document["identity"]["batch_sizes"] == {"echo": 7, "colours:mini": 7}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "fak", "--tasks", "echo"], "no model 'fak' (did you mean fake"),
        (["--model", "fake", "--tasks", "ecko"], "no task 'ecko' (did you mean echo?)"),
        (["--model", "fake"], "--tasks must be given"),
        (["--tasks", "echo"], "--model must be given"),
        (["--modle", "fake"], "--model"),
        (["--model", "fake", "--tasks", "echo", "--limit", "0"], "--limit"),
        (["--model", "fake", "--tasks", "echo", "--batch-size", "none"], "neither auto nor"),
        (["--model", "fake", "--tasks", "echo", "--set", "echo"], "not a setting"),
        (["--model", "fake", "--tasks", "echo", "--set", "echo.limt=1"], "did you mean limit?"),
        (["--model", "fake", "--tasks", "echo", "--set", "text.path=x"], "not among the tasks"),
        (["--model", "fake:blind", "--tasks", "colours:mini"], "lacks GeneratesImages"),
        (["--model", "fake", "--tasks", "echo", "--config", "no.yaml"], "no.yaml cannot be read"),
        (["--model", "fake", "--tasks", "echo", "--output", "file"], "file"),
        (["--model", "fake", "doctor"], "takes its own options"),
        (["repot", "x"], "No such command"),
        (["report", "nowhere"], "nowhere is not the folder of a run"),
        (["tasks", "geneval:mimi"], "did you mean geneval:mini"),
    ],
)
def test_what_the_user_must_change_is_one_message(
    program: Program, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = program(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert is_one_message(ended)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: [", "is not YAML"),
        ("just text", "is not a table of options"),
        ("modle: fake", "no option 'modle' (did you mean model?)"),
        ("limit: many", "limit"),
        ("batch_size: 0", "neither auto nor a whole number from 1"),
        ("set: {echo: 3}", "set"),
    ],
)
def test_a_wrong_file_of_options_is_one_message(
    program: Program, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    ended = program("--config", "run.yaml", "--model", "fake", "--tasks", "echo")
    assert ended.code == 2
    assert said in ended.err
    assert "run.yaml" in ended.err
    assert not (tmp_path / "runs").exists()


def test_a_task_that_breaks_is_a_defect_with_a_log(program: Program, tmp_path: Path) -> None:
    ended = program(
        "--model", "fake", "--tasks", "colours:mini,echo", "--set", "colours:mini.explode=true",
        "--output", "run",
    )  # fmt: skip
    assert ended.code == 4
    assert "RuntimeError: exploded" in ended.err
    assert "\x1b" not in ended.err
    assert "Traceback (most" not in ended.err
    assert "Traceback (most recent call last)" in (tmp_path / "run" / "errors.log").read_text()
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_defect_of_the_program_names_its_log(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise ZeroDivisionError("never seen by a user")

    monkeypatch.setattr("unimm_eval.cli.runs.evaluate", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = program("--model", "fake", "--tasks", "echo")
    assert ended.code == 4
    assert "This is a defect of unimm-eval" in ended.err
    assert "Traceback" not in ended.err
    (log,) = tmp_path.glob("unimm-eval-*.log")
    assert str(log) in ended.err
    assert "ZeroDivisionError: never seen by a user" in log.read_text()


def test_stopping_says_how_to_go_on(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fake_bench.model.FakeModel.generate_text", stopped)
    ended = program("--model", "fake", "--tasks", "echo")
    assert ended.code == 3
    assert "The same command continues" in ended.err


def test_a_report_is_written_again(program: Program, tmp_path: Path) -> None:
    program("--model", "fake", "--tasks", "echo", "--output", "run")
    report = tmp_path / "run" / "report.html"
    report.unlink()
    ended = program("report", "run")
    assert ended.code == 0
    assert ended.out.strip() == "run/report.html"
    assert report.is_file()
