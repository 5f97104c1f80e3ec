"""`rollout`: driving, what is typed, and what is measured of a model that knows the truth."""

import numpy as np
import pytest
from room_models import Oracle, Still
from task_runs import run_task

from unimm_eval.api import SampleError, UserError
from unimm_eval.api.actions import WASD, command_text
from unimm_eval.judges.frame_quality import BEST_PSNR, qualities
from unimm_eval.tasks.rollout.commands import commands_of, read_script, texts_of
from unimm_eval.tasks.rollout.driving import drive
from unimm_eval.tasks.rollout.truth import RoomTruth
from unimm_eval.world.nwm_folder import write_poses
from unimm_eval.world.rooms import Room, view
from unimm_eval.world.rooms_disk import write_rooms

DENOISING = {"guidance_scale": 1.0, "num_inference_steps": 1, "solver": "euler"}


def frames(count, seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, size=(count, 32, 32, 3), dtype=np.uint8))


def oracle_of(samples):
    oracle = Oracle()
    for sample in samples:
        room, pose = Room.from_json(sample.inputs["room"]), np.array(sample.inputs["poses"][-1])
        oracle.knows(room, pose, view(room, np.array(sample.inputs["poses"]))[-1])
    return oracle


def test_the_truth_is_recognised(make_task, context):
    """Every key and sentence is told from the others, and coming back ends where it began."""
    task = make_task("rollout:mini", contexts=5)
    run = run_task(task, oracle_of(task.samples()), context)
    for name in ("nearest", "nearest_w", "nearest_a", "nearest_s", "nearest_d", "nearest_words"):
        assert run.metrics[name].value == 1
        assert run.metrics[name].chance == 0.25
    assert run.metrics["nearest"].n == 20
    assert run.metrics["away_psnr"].value == pytest.approx(BEST_PSNR)
    assert run.metrics["back_psnr"].value == pytest.approx(BEST_PSNR, abs=1)
    assert run.metrics["back_gain"].value > 20


def test_standing_still_is_chance(make_task, context):
    task = make_task("rollout:mini", contexts=3)
    run = run_task(task, Still(), context)
    assert run.metrics["nearest"].value <= 0.25
    assert run.metrics["away_psnr"].value == pytest.approx(run.metrics["away_psnr"].chance)
    assert run.metrics["back_gain"].value == run.metrics["back_gain"].chance == 0


def test_commands_that_are_mixed_up_are_not_near(make_task, context, monkeypatch):
    """A model that takes W for S and A for D gets none of them right."""
    task = make_task("rollout:mini", contexts=3)
    model = oracle_of(task.samples())
    swapped = {command_text(a): command_text(b) for a, b in ("WS", "SW", "AD", "DA")}
    opened = model.open_context

    class Swapping:
        def open_context(self, given):
            known = opened(given)

            class Known:
                def rollout(self, actions, **settings):
                    other = [[swapped.get(text, text) for text in row] for row in actions]
                    return known.rollout(other, **settings)

            return Known()

    run = run_task(task, Swapping(), context)
    assert run.metrics["nearest"].value == 0
    assert run.metrics["nearest_words"].value == 1


def test_a_drive_is_what_the_model_rolls_out():
    given = frames(4)
    script = texts_of(commands_of("WASD"))
    model = Still(noise=3)
    whole = drive(model, given, [script], seeds=[7], remember=4, denoising=DENOISING)
    opened = Still(noise=3)
    opened = opened.open_context([_picture(frame) for frame in given])
    assert np.array_equal(whole, opened.rollout([script], seeds=[7], keep="all"))


def test_many_scripts_are_each_alone():
    given, scripts = frames(4), [["a"] * 5, ["b"] * 5, ["c"] * 5]
    for remember in (1, 2, 5, 9):
        settings = {"remember": remember, "denoising": DENOISING}
        together = drive(Still(noise=3), given, scripts, seeds=[1, 2, 3], **settings)
        for i, script in enumerate(scripts):
            alone = drive(Still(noise=3), given, [script], seeds=[i + 1], **settings)
            assert np.array_equal(together[i], alone[0])


def test_a_context_is_opened_anew_on_the_last_four_frames():
    given = frames(4)
    model = Still(noise=3)
    driven = drive(model, given, [["W"] * 6], seeds=[0], remember=2, denoising=DENOISING)[0]
    assert [len(opened) for opened in model.opened] == [4, 4, 4]
    assert np.array_equal(model.opened[1], [*given[2:], *driven[:2]])
    assert np.array_equal(model.opened[2], driven[:4])
    assert not np.array_equal(driven[0], driven[2])  # its own noise


@pytest.mark.parametrize("scripts", [[], [[]], [["a"], ["a", "b"]]])
def test_scripts_have_one_length(scripts):
    with pytest.raises(ValueError, match="one length"):
        drive(Still(), frames(4), scripts, seeds=[0] * len(scripts), remember=1, denoising={})


def test_what_is_typed():
    assert [command.label for command in commands_of(" wWad ")] == ["W", "W", "A", "D"]
    assert commands_of("s")[0].motion == WASD["S"]
    (sentence,) = commands_of("get out of the shadow!")
    assert (sentence.text, sentence.motion) == ("get out of the shadow!", None)
    assert commands_of("+050+000-079")[0].motion.dyaw == -0.79
    with pytest.raises(ValueError, match="no words"):
        commands_of("  ")


def test_scripts_of_text_and_files(tmp_path):
    commands, skipped = read_script("WW; turn left ;;D")
    assert [command.label for command in commands] == ["W", "W", "turn left", "D"]
    assert skipped == ["part 3 is empty"]
    path = tmp_path / "script.txt"
    path.write_text("W\n\ngo to the red pillar\n", encoding="utf-8")
    commands, skipped = read_script(str(path))
    assert [command.label for command in commands] == ["W", "go to the red pillar"]
    assert skipped == [f"{path}, line 2 is empty"]
    for nothing in (" ; ", ""):
        with pytest.raises(UserError, match="no command"):
            read_script(nothing)
    with pytest.raises(UserError, match="20,000 actions"):
        read_script("W" * 20_000)


def test_a_room_knows_what_commands_lead_to():
    truth = RoomTruth.of(0)
    there = truth.frames(commands_of("WS"))
    psnr, _ = qualities([there[1]], [truth.context()[-1]])
    assert psnr[0] > 40
    unknown = truth.frames([*commands_of("W"), *commands_of("get out of here"), *commands_of("W")])
    assert unknown[0] is not None
    assert unknown[1:] == [None, None]
    blocked = truth.frames(commands_of("W" * 200))  # a wall stands there
    assert blocked[0] is not None
    assert blocked[-1] is None


def test_recordings_are_driven_from_and_faults_are_counted(make_task, context, tmp_path):
    root = tmp_path / "rooms"
    names = write_rooms(root, split="test", count=5, steps=8)
    (root / names[0] / "1.jpg").unlink()
    (root / names[1] / "2.jpg").write_bytes((root / names[1] / "2.jpg").read_bytes()[:200])
    _with_other_size(root / names[2] / "3.jpg")
    (root / names[3] / "traj_data.pkl").unlink()
    write_poses(root / names[3], positions=np.full((9, 2), np.nan), yaw=np.zeros(9))
    task = make_task("rollout", path=root, size=32, steps_away=2)
    run = run_task(task, Still(), context)
    assert {name for name in names if name in str([output.error for output in run.outputs])} == set(
        names[:4]
    )
    told = " ".join(str(output.error) for output in run.outputs)
    for words in ("frame 1 is missing", "can be decoded", "20x20", "not finite"):
        assert words in told
    gain = run.metrics["back_gain"]
    assert (gain.value, gain.unscored) == (0, 4)
    assert run.metrics["back_psnr"].value == pytest.approx(BEST_PSNR)
    assert run.metrics["keys_apart"].value == pytest.approx(0, abs=1e-9)


def test_recordings_have_to_be_there(make_task, tmp_path):
    for settings, told in (
        ({}, "needs recorded trajectories"),
        ({"path": tmp_path / "nowhere"}, "not a folder"),
        ({"path": tmp_path}, "holds no trajectory"),
    ):
        with pytest.raises(UserError, match=told):
            make_task("rollout", **settings).check()
    assert issubclass(SampleError, UserError)


def _with_other_size(path):
    from PIL import Image

    Image.open(path).resize((20, 20)).save(path)


def _picture(array):
    from unimm_eval.api import Picture

    return Picture(array=array)
