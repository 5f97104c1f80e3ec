"""`prediction`: frames seconds ahead, of a model that knows the truth and one that stands still."""

import hashlib
import json

import numpy as np
import pytest
from room_models import Oracle, Still
from task_runs import run_task

from unimm_eval.api import Card, UserError
from unimm_eval.api.actions import parse_action
from unimm_eval.judges.dreamsim_distance import DreamSimDistance
from unimm_eval.judges.frame_quality import BEST_PSNR, qualities
from unimm_eval.tasks.prediction import Prediction
from unimm_eval.world.poses import moved
from unimm_eval.world.rooms import WAYPOINT
from unimm_eval.world.rooms_disk import recorded_path, write_rooms

MODES = ("time", "1fps", "4fps")


def oracle_of(task):
    oracle = Oracle()
    for sample in task.samples():
        name, frame = sample.inputs["trajectory"], sample.inputs["frame"]
        room, poses = recorded_path(split="test", index=int(name[-4:]), steps=frame)
        oracle.knows(room, poses[frame], task.trajectory(name).frame(frame).load())
    return oracle


def test_the_truth_is_best_by_jumps_and_rollouts(make_task, context):
    """Actions, to the nearest hundredth, lead to the true places."""
    task = make_task("prediction:mini", recordings=3, rates=(1,))
    run = run_task(task, oracle_of(task), context)
    for name, metric in run.metrics.items():
        good = 20 if name.startswith("psnr") else 0.85  # rounding adds up over a rollout
        assert metric.value > good
        assert metric.value > metric.chance
        assert metric.n == 3
    assert set(run.metrics) == set(task.card.metrics)


def test_standing_still_is_chance(make_task, context):
    run = run_task(make_task("prediction:mini", recordings=2), Still(), context)
    for metric in run.metrics.values():
        assert metric.value == pytest.approx(metric.chance, abs=1e-12)


def test_actions_lead_from_the_first_pose_to_every_horizon(make_task):
    task = make_task("prediction:mini", recordings=1, rates=(1, 4))
    for sample in task.samples():
        trajectory = task.trajectory(sample.inputs["trajectory"])
        start = trajectory.poses[sample.inputs["frame"]]
        motions = [parse_action(text) for text in sample.inputs["actions"]]
        steps = [np.array((motion.dx, motion.dy, motion.dyaw)) for motion in motions]
        if sample.inputs["mode"] == "time":
            ends = [moved(start, step, spacing=WAYPOINT) for step in steps]
            wanted = [trajectory.poses[3 + ahead] for ahead in (4, 8, 16)]
        else:
            for step in steps:
                start = moved(start, step, spacing=WAYPOINT)
            ends, wanted = [start], [trajectory.poses[19]]
        assert np.allclose(np.array(ends)[:, :2], np.array(wanted)[:, :2], atol=0.06)


def test_quality_is_of_the_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    (psnr, same), (ssim, one) = qualities([a, a], [b, a])
    mse = ((a.astype(float) - b) ** 2).mean()
    assert psnr == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-5)
    assert same == pytest.approx(BEST_PSNR)
    assert one == pytest.approx(1)
    assert ssim < 0.2
    with pytest.raises(ValueError, match="one size"):
        qualities([a], [b[:16]])


@pytest.fixture
def official(tmp_path):
    """`official(root, …)`: the task on recordings, with an AlexNet of random weights."""
    from test_fid import save_alexnet

    from unimm_eval.engine.registry import task_entries

    save_alexnet(tmp_path / "data/judges/lpips/alexnet-owt-7be5be79.pth")

    def make(root, **settings):
        card = task_entries()["prediction"].card.model_dump()
        for file in card["data"]["files"]:
            path = tmp_path / "data" / file["name"]
            if path.exists():
                file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            file.pop("size", None)
        config = Prediction.Config(
            **{"path": root, "dataset": "rooms", "size": 64, "horizons": (1, 2), **settings}
        )
        return Prediction(Card.model_validate(card), config, data_dir=tmp_path / "data")

    return make


def test_recordings_by_index_are_measured_and_faults_counted(official, context, tmp_path):
    root = tmp_path / "rooms"
    names = write_rooms(root, split="test", count=4, steps=14, size=64)
    (root / names[3] / "11.jpg").unlink()  # 2 s after frame 3
    rows = [[name, frame, -3, 8] for name in names for frame in (3, 6)]
    rows += [[names[0], 9, -3, 8], ["nowhere", 3, -3, 8]]
    (tmp_path / "time.json").write_text(json.dumps(rows))
    (tmp_path / "rollout.json").write_text(json.dumps(rows[:4]))
    task = official(
        root, time_index=tmp_path / "time.json", rollout_index=tmp_path / "rollout.json"
    )
    run = run_task(task, Still(), context)
    told = [output.error for output in run.outputs if output.error]
    assert len(told) == 3
    assert "frame 11 is missing" in told[0]
    assert "outside the trajectory" in told[1]
    assert "no such trajectory" in told[2]
    assert run.metrics["lpips_time_1s"].n == 7
    assert run.metrics["lpips_time_1s"].unscored == 3
    assert run.metrics["lpips_1fps_2s"].n == run.metrics["lpips_4fps_2s"].n == 4
    for metric in run.metrics.values():
        assert metric.value == pytest.approx(metric.chance, abs=1e-9)
        assert np.isfinite(metric.stderr)
    facts = run.metrics["lpips_time_1s"].facts
    assert facts["dreamsim"].startswith("absent: ")
    assert facts["fid"].startswith("absent: ")
    assert not any(name.startswith(("fid", "dreamsim")) for name in run.metrics)


def test_without_an_index_every_trajectory_is_gone_through(official, tmp_path):
    root = tmp_path / "rooms"
    names = write_rooms(root, split="test", count=1, steps=40)
    write_rooms(root / "short", split="val", count=1, steps=6)
    (root / "short" / "room_val_0000").rename(root / "room_val_0000")
    samples = [sample for sample in official(root).samples() if sample.inputs["mode"] == "time"]
    begun = [(s.inputs["trajectory"], s.inputs["frame"]) for s in samples]
    assert begun == [(names[0], 3), (names[0], 19), ("room_val_0000", 3)]
    assert "outside the trajectory" in samples[2].inputs["fault"]


def test_features_give_an_fid(official, context, tmp_path):
    """Of frames that are the true ones it is 0; a small network stands for Inception."""
    import torch
    from test_fid import Layers

    from unimm_eval.judges.inception import DEFINITIONS

    root = tmp_path / "rooms"
    write_rooms(root, split="test", count=3, steps=12, size=64)
    path = tmp_path / "data" / DEFINITIONS["clean"].file
    path.parent.mkdir(parents=True)
    torch.jit.save(torch.jit.script(Layers()), path)
    task = official(root, rates=(), horizons=(1,), bootstrap_resamples=3)

    class True_(Still):
        def open_context(self, frames):
            known = super().open_context(frames)
            known.frame = ahead[frames[-1].load().tobytes()]
            return known

    ahead = {}
    for sample in task.samples():
        trajectory = task.trajectory(sample.inputs["trajectory"])
        frame = sample.inputs["frame"]
        ahead[trajectory.frame(frame).load().tobytes()] = trajectory.frame(frame + 4).load()
    best, still = run_task(task, True_(), context), run_task(task, Still(), context)
    assert best.metrics["fid_time_1s"].value == pytest.approx(0, abs=1e-6)
    assert best.metrics["lpips_time_1s"].value == pytest.approx(0, abs=1e-6)
    assert still.metrics["fid_time_1s"].value > best.metrics["fid_time_1s"].value
    assert best.metrics["fid_time_1s"].facts["reference_pictures"] == 3


def test_what_is_missing_is_one_message(make_task, tmp_path):
    with pytest.raises(UserError) as raised:
        make_task("prediction").check()
    assert "needs recorded trajectories" in raised.value.what
    assert "alexnet-owt-7be5be79.pth is missing" in raised.value.what
    assert "unimm-eval data fetch prediction" in raised.value.fix
    write_rooms(tmp_path, split="test", count=1, steps=9)
    with pytest.raises(UserError, match="no data set 'mars'"):
        make_task("prediction", path=tmp_path, dataset="mars").check()


@pytest.mark.parametrize(
    "settings", [{"horizons": (2, 1)}, {"rates": (3,)}, {"horizons": ()}, {"horizons": (0, 1)}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"horizons|rates"):
        Prediction.Config(**settings)


def test_dreamsim_is_asked_about_each_pair(tmp_path, monkeypatch):
    """The package is not a dependency: one of its interface stands for it."""
    import sys
    import types

    import torch

    def dreamsim(*, pretrained, cache_dir, device, dreamsim_type):
        assert (pretrained, cache_dir, dreamsim_type) == (True, str(tmp_path), "ensemble")

        def as_input(picture):
            return torch.tensor(np.array(picture)).permute(2, 0, 1)[None] / 255

        return (lambda a, b: (a - b).abs().mean()), as_input

    module = types.ModuleType("dreamsim")
    module.dreamsim = dreamsim
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    network = DreamSimDistance(tmp_path, device="cpu")
    assert network.between([black, white], [white, white]) == [1.0, 0.0]
