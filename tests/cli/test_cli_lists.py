"""What there is: quick to say, and safe to look at whatever a plug-in says of itself."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from unimm_eval import __version__
from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program

ROOT = Path(__file__).parent.parent.parent


def seconds(*arguments: str) -> float:
    """Processor time of a start, best of three: what a person waits for when nothing else runs."""
    command = [sys.executable, "-m", "unimm_eval.cli.main", *arguments]
    best = float("inf")
    for _ in range(3):
        before = _children_seconds()
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        best = min(best, _children_seconds() - before)
    return best


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_instant() -> None:
    assert seconds("--help") < 1.0  # the goal is half of it, 0.3 s were measured


def test_the_list_of_tasks_is_quick() -> None:
    assert seconds("tasks") < 2.0  # the goal is half of it, 0.7 s were measured


def test_the_list_of_models_imports_nothing_that_computes() -> None:
    code = (
        "import sys\n"
        "from unimm_eval.cli.main import app, run_program\n"
        "run_program(app, ['models', '--json'])\n"
        "print({'torch', 'numpy', 'transformers', 'pandas'} & sys.modules.keys() or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("light\n")
    listed = json.loads(done.stdout.removesuffix("light\n"))["models"]
    kinds = {"diffusers", "emu3", "hf", "images", "janus", "lmms", "openai", "unimm"}
    assert kinds <= listed.keys()
    for kind in kinds:
        assert listed[kind]["capabilities"]
        assert listed[kind]["examples"]


def test_tasks_are_listed_without_importing_them() -> None:
    code = (
        "import sys\n"
        "from unimm_eval.cli.main import app, run_program\n"
        "run_program(app, ['tasks'])\n"
        "print({'torch', 'pandas', 'unimm_eval.tasks.geneval'} & sys.modules.keys() or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.endswith("light\n")


def test_a_list_is_safe_to_look_at(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(app, ["tasks"]) == 0
    out = capsys.readouterr().out
    assert "geneval:mini" in out
    assert "pictures of one colour <b>bold</b> ␛[31m" in out


def test_a_task_is_shown_with_its_card_and_protocol(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(app, ["tasks", "colours:mini"]) == 0
    out = capsys.readouterr().out
    assert "not official" in out
    assert "accuracy (higher is better)" in out
    assert "shade=1.0  how bright a colour is asked for" in out
    assert "A & B <1B>: accuracy 0.91 (Table 1, <script>)" in out
    assert "The protocol for a reader." in out
    assert "\x1b" not in out


def test_models_are_listed(plugin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(app, ["models"]) == 0
    out = capsys.readouterr().out
    assert "--model demo" in out
    assert "--model fake:blind" in out
    assert "\x1b" not in out


def test_the_doctor_looks_at_versions_machine_and_folders(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(app, ["doctor"]) == 0
    out = capsys.readouterr().out
    for word in (f"unimm-eval    {__version__}", "torch", "threads", "GB free", "nothing is amiss"):
        assert word in out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_options_and_commands(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(app, arguments) == 0
    out = capsys.readouterr().out
    for word in ("--model", "--tasks", "--dry-run", "doctor", "--model demo --tasks mini"):
        assert word in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(app, ["--version"]) == 0
    assert capsys.readouterr().out == f"unimm-eval {__version__}\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m unimm_eval.cli.main tasks | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
