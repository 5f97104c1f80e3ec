"""The program, run in an empty folder."""

from pathlib import Path

import pytest
from cli_program import Ended, Program

from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program


@pytest.fixture
def program(
    plugin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Program:
    """`program("--model", …)` runs `unimm-eval` with these arguments."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        code = run_program(app, arguments)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
