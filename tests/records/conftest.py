"""Finished runs of a third party's tasks, made once; a test gets copies that it may spoil."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from unimm_eval import evaluate

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs: `colours:mini` makes pictures and scores all of them, `echo` leaves two
    answers without a score, `limited` is a part of the first."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        evaluate("fake", "colours:mini", output=folder / "colours")
        evaluate("fake", "echo", output=folder / "echo")
        evaluate("fake", "colours:mini", limit=2, output=folder / "limited")
    return folder


@pytest.fixture
def copy_of(finished: Path, plugin: Path, tmp_path: Path) -> Callable[[str], Path]:
    """`copy_of("echo")` is the folder of a run of one's own."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(finished / name, tmp_path / "run"))

    return copy


@pytest.fixture
def run(copy_of: Callable[[str], Path]) -> Path:
    """The folder of a run that can be published."""
    return copy_of("colours")
