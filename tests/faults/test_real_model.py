"""A real checkpoint, killed at moments of real time, ends like one that was never stopped."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkpoints import tiny_checkpoint

KILLS = 20
ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).parent / "kill_cli.py"

Run = Callable[[Path, float | None], tuple[int, float]]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    model = tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    # Small batches: many commits a task, so that it is stopped in its middle too.
    options = ["--limit", "4", "--batch-size", "3", "--device", "cpu"]
    return ["--model", str(model), "--tasks", "mini", *options]


@pytest.fixture(scope="module")
def run(command: list[str]) -> Iterator[Run]:
    """`run(folder, seconds)`: (exit status, seconds it took) of a run that is killed then."""
    with subprocess.Popen(
        [sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        stdin, stdout = server.stdin, server.stdout
        stdin.write(json.dumps(command) + "\n")

        def ask(folder: Path, seconds: float | None) -> tuple[int, float]:
            stdin.write(json.dumps([[*command, "--output", str(folder)], seconds]) + "\n")
            stdin.flush()
            status, took = json.loads(stdout.readline())
            return status, took

        yield ask
        stdin.close()


def record_of(folder: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "results.json").read_text())
    del record["volatile"]
    return record


def files_of(folder: Path) -> dict[str, bytes]:
    """Pictures and samples by name."""
    found = [*folder.glob("media/??/*.png"), *folder.glob("samples/*.parquet")]
    return {path.name: path.read_bytes() for path in found}


@pytest.mark.slow
def test_twenty_kills_of_a_real_run_change_nothing(
    command: list[str], run: Run, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    status, seconds = run(whole, None)
    assert status == 0
    expected, files = record_of(whole), files_of(whole)

    rng = random.Random(20)
    kills = 0
    while kills < KILLS:
        status, _ = run(folder, rng.uniform(0, seconds))
        if status == 0:  # done before its time: begin again
            assert record_of(folder) == expected
            shutil.rmtree(folder)
            continue
        assert status == -9
        kills += 1
    last = subprocess.run(
        [sys.executable, "-m", "unimm_eval.cli.main", *command, "--output", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert last.returncode == 0, last.stderr
    assert record_of(folder) == expected
    assert files_of(folder) == files
    assert (folder / "report.html").is_file()
