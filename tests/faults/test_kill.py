"""A run that is killed again and again ends like one that was never stopped."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

KILLS = 20
CHILD = Path(__file__).parent / "kill_child.py"


def run(folder: Path, *, line: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), str(folder), str(line)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def record_of(folder: Path) -> dict:
    record = json.loads((folder / "results.json").read_text())
    del record["volatile"]
    return record


def test_twenty_kills_change_nothing(tmp_path):
    whole = run(tmp_path / "whole", line=0)
    assert whole.returncode == 0, whole.stderr
    lines = int(whole.stdout)
    expected = record_of(tmp_path / "whole")
    finished = run(tmp_path / "whole", line=0)  # what a run costs that finds everything done
    overhead = int(finished.stdout)
    assert record_of(tmp_path / "whole") == expected

    rng = random.Random(20)
    folder = tmp_path / "run"
    kills = 0
    while kills < KILLS:
        # Far enough to come through in a few attempts, near enough to be stopped in every phase.
        killed = run(folder, line=rng.randint(1, overhead + (lines - overhead) // 4))
        if killed.returncode == 0:
            assert record_of(folder) == expected
            shutil.rmtree(folder)
            continue
        assert killed.returncode == -9, killed.stderr
        kills += 1
    last = run(folder, line=0)
    assert last.returncode == 0, last.stderr
    assert record_of(folder) == expected
    media = {path.name: path.read_bytes() for path in folder.glob("media/??/*.png")}
    assert media == {p.name: p.read_bytes() for p in tmp_path.glob("whole/media/??/*.png")}
