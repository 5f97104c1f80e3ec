"""What an installed copy holds: every room, under one name, the same from a wheel and an sdist."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("tasks", "model", "train", "leaderboard")
DATA = (".yaml", ".json", ".jsonl", ".md", ".txt", ".html", ".css", ".js", ".safetensors")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would deliver, so that a build leaves nothing behind in the checkout."""
    copy = tmp_path_factory.mktemp("packaging") / "tree"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, copy / name
        if name.startswith(("results/", "bench/")) or not (source.is_symlink() or source.exists()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        else:
            target.write_bytes(source.read_bytes())
    return copy


def build(source: Path, out: Path, kind: str) -> Path:
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        f"--{kind}",
        "--outdir",
        out,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, tmp_path_factory.mktemp("sdist"), "sdist")


def members(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def wanted(tree: Path) -> set[str]:
    """Every module of ours and every file that code reads, by its name in an installed copy."""
    found = set()
    for folder, prefix in [(tree / "unimm_eval", "unimm_eval")] + [
        (tree / room, f"unimm_eval/{room}") for room in ROOMS
    ]:
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            through_link = inside.parts[0] in ROOMS and prefix == "unimm_eval"
            if path.is_file() and not through_link and path.suffix in (".py", *DATA):
                found.add(f"{prefix}/{inside.as_posix()}")
    return found


def test_the_wheel_holds_every_room(tree: Path, wheel: Path) -> None:
    expected = wanted(tree)
    assert {"unimm_eval/model/__init__.py", "unimm_eval/tasks/__init__.py"} <= expected
    missing = expected - members(wheel).keys()
    assert not missing


def test_nothing_but_the_package_is_at_the_top(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in members(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"unimm_eval"}


def test_the_wheel_states_licence_and_programs(wheel: Path) -> None:
    (info,) = {name.split("/")[0] for name in members(wheel) if ".dist-info/" in name}
    held = members(wheel)
    assert b"Apache License" in held[f"{info}/licenses/LICENSE"]
    assert b"GPL-3.0-or-later" in held[f"{info}/licenses/NOTICE"]
    assert b"unimm-eval = unimm_eval.cli.main:main" in held[f"{info}/entry_points.txt"]


def test_the_sdist_builds_into_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    again = members(build(source, tmp_path / "out", "wheel"))
    assert again == members(wheel)


def test_rooms_cannot_be_imported_bare(tmp_path: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import importlib.util as u, unimm_eval.model as model, unimm_eval.tasks\n"
        f"assert model.__file__.startswith({str(tmp_path)!r}), model.__file__\n"
        f"assert not [room for room in {ROOMS!r} if u.find_spec(room)]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
