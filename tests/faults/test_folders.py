"""A folder that cannot be used costs one message, and nothing in it."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from engine_fakes import Draw, FakeModel, Say

from unimm_eval import evaluate
from unimm_eval.api import IncompleteError, UserError, encode_png
from unimm_eval.engine import files
from unimm_eval.engine.progress import Silent

ROOT = Path(__file__).parents[2]
SECOND = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "engine")!r}]
from engine_fakes import FakeModel, Say
from unimm_eval import evaluate
from unimm_eval.api import UserError
try:
    evaluate(FakeModel(), [Say("say")], output=sys.argv[1])
except UserError as error:
    sys.stdout.write(str(error))
    sys.exit(error.exit_code)
"""


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stable(record):
    return record.model_dump(exclude={"volatile"})


class During(Silent):
    """Does something once, as soon as outputs are in the store."""

    def __init__(self, action):
        self.action = action

    def advance(self, task, count):
        action, self.action = self.action, lambda: None
        action()


def test_a_second_process_is_refused_at_once(tmp_path):
    folder = tmp_path / "run"
    seen = []

    def intrude():
        command = [sys.executable, "-c", SECOND, str(folder)]
        seen.append(subprocess.run(command, capture_output=True, text=True, check=False))

    evaluate(FakeModel(), [Say("say")], output=folder, progress=During(intrude))
    (second,) = seen
    assert (second.returncode, second.stderr) == (2, "")
    assert second.stdout.startswith(f"Another process is using {folder}.")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": FakeModel(fingerprint="beef")}, 'model.fingerprint: "f00d" there, "beef"'),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"limit": 2}, "tasks.say.samples: 10 there, 2 now"),
        ({"batch_size": 2}, "batch_sizes.say: 16 there, 2 now"),
        ({"dtype": "float32"}, 'dtype: "auto" there, "float32" now'),
        ({"tasks": [Say("say"), Draw("draw")]}, "tasks.draw: absent there"),
    ],
)
def test_the_folder_of_another_run_is_refused(tmp_path, change, field):
    folder = tmp_path / "run"
    first = {"model": FakeModel(), "tasks": [Say("say")], "output": folder}
    evaluate(**first)
    before = contents(folder)
    with pytest.raises(UserError, match="is the folder of another run") as caught:
        evaluate(**first | change)
    assert field in str(caught.value)
    assert contents(folder) == before


def test_answers_of_another_model_are_never_served(tmp_path):
    folder = tmp_path / "run"
    evaluate(FakeModel(), [Say("say")], output=folder)
    (folder / "run.json").unlink()
    with pytest.raises(UserError, match="holds outputs of another model"):
        evaluate(FakeModel(fingerprint="beef"), [Say("say")], output=folder)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("\\documentclass{article}")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="not empty and not the folder of a run"):
        evaluate(FakeModel(), [Say("say")], output=tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*is not a folder") as caught:
        evaluate(FakeModel(), [Say("say")], output=tmp_path / "file" / "run")
    assert "--output" in caught.value.fix


def test_a_folder_that_is_read_only(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # what the root user is not told
    with pytest.raises(UserError, match="is read-only"):
        evaluate(FakeModel(), [Say("say")], output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("size", [0, 100, 4096, 30_000, 60_000])
def test_a_full_disk_loses_nothing(tmp_path, size):
    tasks = [Say("say"), Draw("draw")]
    expected = evaluate(FakeModel(), tasks, batch_size=3, output=tmp_path / "whole")
    folder = tmp_path / "run"
    with largest_file(size), pytest.raises(IncompleteError, match="cannot be written") as caught:
        evaluate(FakeModel(), tasks, batch_size=3, output=folder)
    assert "same command continues" in caught.value.fix
    assert not (folder / "results.json").exists()
    assert not list(folder.rglob("*.tmp"))
    record = evaluate(FakeModel(), tasks, batch_size=3, output=folder)
    assert stable(record) == stable(expected)


def test_a_disk_that_fills_up_while_the_record_is_written(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    written = files.write_renamed

    def full(path, data):
        if path.name == "results.json":
            raise OSError(28, "No space left on device")
        written(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_renamed", full)
        with pytest.raises(IncompleteError, match="No space left on device"):
            evaluate(FakeModel(), [Say("say")], output=folder)
    assert not (folder / "results.json").exists()
    model = FakeModel()
    evaluate(model, [Say("say")], output=folder)
    assert model.batches == []


def test_a_damaged_store_is_named_and_its_mend_works(tmp_path):
    folder = tmp_path / "run"
    expected = evaluate(FakeModel(), [Say("say")], output=folder)
    store = folder / "store.sqlite"
    store.write_bytes(b"garbage" * 1000)
    with pytest.raises(UserError, match=r"store\.sqlite is damaged") as caught:
        evaluate(FakeModel(), [Say("say")], output=folder)
    assert f"rm {store}*" in caught.value.fix
    store.unlink()
    assert stable(evaluate(FakeModel(), [Say("say")], output=folder)) == stable(expected)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 99}'])
def test_a_damaged_run_file_is_named(tmp_path, text):
    folder = tmp_path / "run"
    evaluate(FakeModel(), [Say("say")], output=folder)
    (folder / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json (is damaged|has schema version 99)"):
        evaluate(FakeModel(), [Say("say")], output=folder)


def test_a_picture_that_is_gone_is_made_again(tmp_path):
    folder = tmp_path / "run"

    class Later(Draw):
        up = False

        def judge(self, samples, outputs):
            if not self.up:
                raise RuntimeError("not yet")
            return super().judge(samples, outputs)

    with pytest.raises(Exception, match="not yet"):
        evaluate(FakeModel(), [Later("draw")], output=folder)
    gone = next(folder.glob("media/??/*.png"))
    gone.unlink()
    task = Later("draw")
    task.up = True
    notes: list[str] = []

    class Listening(Silent):
        def note(self, message):
            notes.append(message)

    evaluate(FakeModel(), [task], output=folder, progress=Listening())
    assert gone.is_file()
    assert any("1 pictures" in note and "computed again" in note for note in notes)


def test_a_damaged_picture_is_named_and_made_again(tmp_path):
    folder = tmp_path / "run"
    expected = evaluate(FakeModel(), [Draw("draw")], output=folder)
    picture = sorted(folder.glob("media/??/*.png"))[0]
    whole = picture.read_bytes()
    picture.write_bytes(encode_png(np.zeros((8, 8, 3), dtype=np.uint8)))
    with sqlite3.connect(folder / "store.sqlite") as database:
        database.execute("DELETE FROM scores")  # so that it is looked at again
    database.close()
    with pytest.raises(IncompleteError, match="is not what was written") as caught:
        evaluate(FakeModel(), [Draw("draw")], output=folder)
    assert f"rm {picture}" in caught.value.fix
    picture.unlink()
    assert stable(evaluate(FakeModel(), [Draw("draw")], output=folder)) == stable(expected)
    assert picture.read_bytes() == whole
