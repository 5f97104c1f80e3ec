"""Whatever happens while a state is written or afterwards, training goes on from a whole one."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_recipe import saved, small_recipe

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.train.log import read_log
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.state import States

HERE = Path(__file__).parent


def losses(folder):
    return [(entry["step"], entry["text_loss"], entry["flow_loss"]) for entry in read_log(folder)]


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory):
    """Eight steps, saved after 3, 6 and 8, of which all stay."""
    folder = tmp_path_factory.mktemp("unstopped")
    Pretraining(small_recipe(), folder, workers=0, keep=3).run()
    return folder


@pytest.fixture
def stopped(unstopped, tmp_path):
    """The same after six steps."""
    folder = shutil.copytree(unstopped, tmp_path / "run")
    shutil.rmtree(folder / "state-0000008")
    return folder


@contextmanager
def largest_file(size):
    """Writing past `size` fails, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_leaves_the_last_state(unstopped, stopped, asynchronous):
    run = Pretraining(small_recipe(), stopped, workers=0, asynchronous=asynchronous)
    assert run.step == 6
    with (
        largest_file(100_000),
        pytest.raises(IncompleteError, match=r"state-0000008 cannot be written.*too large") as got,
    ):
        run.run()
    assert "Make room" in got.value.fix
    assert sorted(path.name for path in stopped.glob("state-*")) == [
        "state-0000003",
        "state-0000006",
    ]
    again = Pretraining(small_recipe(), stopped, workers=0)
    assert (again.step, again.warnings) == (6, [])
    again.run()
    assert losses(stopped) == losses(unstopped)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_save_leaves_the_state_before(unstopped, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(unstopped / "tokenizer.json", folder)
    child = subprocess.run(
        [sys.executable, str(HERE / "kill_program.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": f"{HERE.parents[1]}:{HERE}"},
        check=False,
        timeout=300,
    )
    assert child.returncode == -signal.SIGKILL
    assert list((folder / "state-0000006.partial").glob("*.safetensors"))
    run = Pretraining(small_recipe(), folder, workers=0)
    assert (run.step, run.warnings) == (3, [])
    run.run()
    assert losses(folder) == losses(unstopped)
    assert not list(folder.glob("*.partial"))


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("file", "damage"),
    [("*.safetensors", one_bit), ("*.safetensors", half), ("state.json", half)],
)
def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(unstopped, stopped, file, damage):
    damage(next((stopped / "state-0000006").glob(file)))
    run = Pretraining(small_recipe(), stopped, workers=0)
    assert run.step == 3
    (warning,) = run.warnings
    assert "state-0000006 is damaged" in warning
    assert "going on from step 3" in warning
    run.run()
    assert losses(stopped) == losses(unstopped)
    assert Pretraining(small_recipe(), stopped, workers=0).warnings == []


def test_a_run_without_a_whole_state_is_refused_and_keeps_its_log(stopped):
    for state in ("state-0000003", "state-0000006"):
        (stopped / state / "state.json").unlink()
    with pytest.raises(UserError, match=r"no state is whole: .*0000006.*0000003"):
        Pretraining(small_recipe(), stopped, workers=0)
    assert len(losses(stopped)) == 8


def test_states_of_an_older_format_are_not_trained_over(tmp_path):
    (tmp_path / "state-0000005.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="older format"):
        States(tmp_path, Ranks("cpu")).load({}, identity=str)


def test_a_state_is_written_while_its_tensors_change(tmp_path):
    states = States(tmp_path, Ranks("cpu"), asynchronous=True, keep=1)
    tensors = {"a": torch.arange(6.0).view(2, 3), "none": torch.zeros(0, 2)}
    for step in (1, 2):
        states.save(step=step, tensors=tensors, values={"x": 0.1 + 0.2}, identity="r")
        tensors["a"].add_(1)
    states.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["state-0000002"]
    assert torch.equal(saved(tmp_path, 2)["a"], torch.arange(6.0).view(2, 3) + 1)
    loaded = states.load(tensors, identity=lambda step: "r")
    assert loaded is not None
    assert (loaded.step, loaded.values) == (2, {"x": 0.1 + 0.2})
    assert torch.equal(tensors["a"], torch.arange(6.0).view(2, 3) + 1)
