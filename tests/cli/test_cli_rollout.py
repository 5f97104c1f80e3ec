"""`unimm-eval rollout`: drives by scripts and by hand, of a model that draws at once."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from cli_program import Program, is_one_message
from PIL import Image

from unimm_eval.tasks.rollout import film
from unimm_eval.world.rooms_disk import write_rooms

QUICK = ("--steps", "1", "--guidance-scale", "1")


class Drifts:
    """Predicts the last frame, one level brighter."""

    name, fingerprint = "drifts", "0" * 16

    def open_context(self, frames):
        last = frames[-1].load()

        class Opened:
            def rollout(self, actions, *, seeds, keep="last", **settings):
                assert keep == "all"
                rows = [[last + 1 + i for i in range(len(texts))] for texts in actions]
                return np.array(rows, np.uint8)

        return Opened()


@pytest.fixture(autouse=True)
def _model(monkeypatch):
    """`drifts` is a model that can drive, `fixed` one that cannot."""
    from unimm_eval.cli import rollout

    class Adapter:
        @classmethod
        def capabilities_for(cls, spec):
            return frozenset({"PredictsFrames"} if spec == "drifts" else ())

        @classmethod
        def load(cls, spec, *, device, dtype):
            return Drifts()

    monkeypatch.setattr(rollout, "find_adapter", lambda spec: Adapter)


def test_a_script_leaves_films_and_facts(program: Program, tmp_path: Path) -> None:
    ended = program("rollout", "--model", "drifts", "--actions", "WW;; turn left", *QUICK)
    assert ended.code == 0, ended.err
    assert "skipped: part 2 is empty" in ended.err
    out = tmp_path / "rollout"
    facts = json.loads((out / "drive.json").read_text())
    assert facts["commands"] == ["W", "W", "turn left"]
    assert facts["actions"] == ["+050+000+000", "+050+000+000", "turn left"]
    assert facts["skipped"] == 1
    assert len(facts["measured"]["psnr"]) == 3
    assert "from the truth" in ended.out
    assert "WWSS and back" in ended.out
    for name in ("strip.png", "sheet.png", "drive.mp4", *(f"frame-000{i}.png" for i in range(3))):
        assert (out / name).stat().st_size
    with Image.open(out / "drive.gif") as image:
        assert image.n_frames == 7


def test_what_is_typed_drives(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("wa\nget out of the shadow!\nq\nW\n"))
    ended = program("rollout", "--model", "drifts", "--output", "by-hand", *QUICK)
    assert ended.code == 0, ended.err
    facts = json.loads((tmp_path / "by-hand/drive.json").read_text())
    assert facts["commands"] == ["W", "A", "get out of the shadow!"]
    assert "2: " in ended.out
    assert (tmp_path / "by-hand/latest.png").stat().st_size
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "Nothing was driven" in program("rollout", "--model", "drifts", *QUICK).out


def test_drives_begin_at_recordings_and_pictures(program: Program, tmp_path: Path) -> None:
    (name,) = write_rooms(tmp_path / "rooms", split="test", count=1, steps=6)
    begun = ("rollout", "--model", "drifts", "--actions", "W", *QUICK)
    folder = str(tmp_path / "rooms" / name)
    ended = program(*begun, "--trajectory", folder, "--frame", "5")
    assert ended.code == 0, ended.err
    assert "from the truth" not in ended.out
    pictures = [f"--picture={folder}/{i}.jpg" for i in range(4)]
    assert program(*begun, *pictures).code == 0
    Image.new("RGB", (9, 9)).save(f"{folder}/2.jpg")
    for arguments, told in (
        (pictures, "several sizes"),
        (pictures[:3], "3 pictures are given"),
        ([*pictures, "--trajectory", folder], "two beginnings"),
        (["--trajectory", folder, "--frame", "3"], "9x9 pixels"),
        (["--trajectory", folder, "--frame", "30"], "outside the trajectory"),
        (["--trajectory", "nowhere"], "no such trajectory"),
        (["--actions", " ; "], "no command"),
    ):
        wrong = program(*begun, *arguments)
        assert wrong.code == 2
        assert is_one_message(wrong)
        assert told in wrong.err


def test_without_an_encoder_the_rest_is_written(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "ENCODERS", ("none_such",))
    ended = program("rollout", "--model", "drifts", "--actions", "W", *QUICK)
    assert ended.code == 0
    assert "skipped: no video" in ended.err
    assert (tmp_path / "rollout/drive.gif").exists()
    assert not (tmp_path / "rollout/drive.mp4").exists()


def test_a_model_that_cannot_drive_is_refused(program: Program) -> None:
    ended = program("rollout", "--model", "fixed", "--actions", "W")
    assert ended.code == 2
    assert "lacks PredictsFrames" in ended.err
