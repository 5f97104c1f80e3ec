"""A run of lm-eval's tasks that is killed ends like one that was never stopped, and leaves no
process behind."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from lm_files import write_tasks

KILLS = 3
CHILD = Path(__file__).parent / "kill_lm.py"


def run(folder: Path, rows: Path, *, line: int) -> subprocess.CompletedProcess[str]:
    home = {"HF_HOME": str(rows / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(CHILD), str(folder), str(rows), str(line)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **home}
    )


def record_of(folder: Path) -> dict:
    record = json.loads((folder / "results.json").read_text())
    for volatile in ("volatile", "digest"):
        record.pop(volatile, None)
    return record


@pytest.mark.long  # lm-eval is imported in every one of its runs
def test_kills_change_nothing(tmp_path):
    rows = write_tasks(tmp_path / "rows")
    whole = run(tmp_path / "whole", rows, line=0)
    assert whole.returncode == 0, whole.stderr
    expected = record_of(tmp_path / "whole")
    rng = random.Random(6)
    folder = tmp_path / "run"
    for _ in range(KILLS):
        killed = run(folder, rows, line=rng.randint(1, int(whole.stdout)))
        assert killed.returncode in (0, -9), killed.stderr
    last = run(folder, rows, line=0)
    assert last.returncode == 0, last.stderr
    assert record_of(folder) == expected
