"""Rooms import downwards only; the rules are in pyproject.toml."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--verbose"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_room_imports_upwards() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_an_upward_import_is_found_behind_the_links(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    shutil.copy(ROOT / "pyproject.toml", tree)
    for room in ("unimm_eval", "leaderboard", "model", "tasks", "train"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(ROOT / room, tree / room, symlinks=True, ignore=ignored)
    assert lint_imports(tree).returncode == 0
    (tree / "model" / "upwards.py").write_text("import unimm_eval.engine.plan\n")
    result = lint_imports(tree)
    assert result.returncode == 1
    assert "unimm_eval.model.upwards -> unimm_eval.engine.plan" in result.stdout
