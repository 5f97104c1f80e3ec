"""`nwm`: plans of a model that knows the truth, of one that stands still, and of a tiny one."""

import hashlib
import json

import numpy as np
import pytest
from room_models import Oracle, Still
from task_runs import run_task

from unimm_eval.api import Card, UserError
from unimm_eval.tasks.nwm import Nwm
from unimm_eval.tasks.nwm.candidates import to_waypoints
from unimm_eval.world.nwm_folder import write_poses
from unimm_eval.world.rooms_disk import recorded_path, write_rooms


def oracle_of(task):
    oracle = Oracle()
    for sample in task.samples():
        if "fault" not in sample.inputs:
            index, time = int(sample.inputs["trajectory"][-4:]), sample.inputs["time"]
            room, poses = recorded_path(split="test", index=index, steps=time)
            oracle.knows(room, poses[time], task.views(sample)[0][-1])
    return oracle


def values(run):
    return {name: metric.value for name, metric in run.metrics.items()}


def test_with_the_truth_in_place_of_the_model_plans_are_good(make_task, context):
    """The planner itself: what it loses against the truth is what it was given to look at."""
    task = make_task("nwm:mini")
    run = run_task(task, oracle_of(task), context)
    assert set(run.metrics) == set(task.card.metrics)
    found = values(run)
    assert found["ate_over_stand_still"] <= 0.2
    assert found["ate_over_straight"] <= 0.5
    assert run.metrics["ate"].n == len(run.samples)
    assert run.metrics["ate"].chance > 2 * found["ate"]
    assert found["ate_m"] == pytest.approx(0.25 * found["ate"])


@pytest.mark.xfail(strict=True, reason="1.52 was measured: the distance places a view too roughly")
def test_with_the_truth_plans_are_nearly_the_best_of_their_candidates(make_task, context):
    task = make_task("nwm:mini")
    assert values(run_task(task, oracle_of(task), context))["ate_over_best"] <= 1.3


def test_who_knows_nothing_plans_by_lot(make_task, context):
    run = run_task(make_task("nwm:mini", instances=6), Still(noise=3), context)
    found = values(run)
    assert abs(found["ate"] - run.metrics["ate"].chance) < 0.5 * run.metrics["ate"].chance
    assert found["ate_over_best"] > 1.5


def test_a_plan_is_the_same_in_any_batch_and_after_an_interruption(make_task, context):
    task = make_task("nwm:mini", instances=3, num_samples=12, opt_steps=2)
    together = run_task(task, Still(noise=3), context, batch_size=3)
    alone = run_task(task, Still(noise=3), context, batch_size=1)
    assert [o.values for o in together.outputs] == [o.values for o in alone.outputs]
    again = list(task.judge(together.samples, together.outputs))
    assert again == together.scores  # outputs alone decide


def test_a_tiny_model_plans_and_opens_each_context_once(make_task, context, tmp_path, monkeypatch):
    from checkpoints import tiny_checkpoint

    from unimm_eval.adapters.unimm import UnimmCheckpoint

    model = UnimmCheckpoint.load(
        str(tiny_checkpoint(tmp_path / "tiny")), device="cpu", dtype="auto"
    )
    opened, open_context = [], model.open_context
    monkeypatch.setattr(model, "open_context", lambda f: opened.append(f) or open_context(f))
    settings = {"instances": 2, "num_samples": 12, "num_repeats": 3, "num_inference_steps": 2}
    run = run_task(make_task("nwm:mini", **settings), model, context)
    assert len(opened) == 2
    (search,) = run.outputs[0].values["searches"]
    assert np.shape(search[0]["candidates"]) == (12, 3)
    assert np.shape(search[0]["distances"]) == (12, 3)
    assert np.isfinite(list(values(run).values())).all()


def test_repeats_are_of_rollouts_or_of_plans(make_task, context):
    settings = {"instances": 2, "num_samples": 12, "num_repeats": 3}
    plans = run_task(make_task("nwm:mini", repeats="plans", **settings), Still(3), context)
    assert [output.repeat for output in plans.outputs] == [0, 1, 2] * 2
    poses = [output.values["poses"] for output in plans.outputs[:3]]
    assert poses[0] != poses[1] != poses[2]
    assert plans.metrics["ate"].n == 6
    with_rollouts = run_task(make_task("nwm:mini", **settings), Still(3), context)
    assert len(with_rollouts.outputs) == 2


def test_what_follows_is_planned_anew(make_task, context):
    settings = {"instances": 2, "rollout_stride": 4, "num_samples": 12}
    model = Still()
    task = make_task("nwm:mini", replan_every=4, **settings)
    run = run_task(task, model, context)
    assert len(model.opened) == 4
    assert [len(output.values["searches"]) for output in run.outputs] == [2, 2]
    assert np.shape(run.outputs[0].values["poses"]) == (8, 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"topk": 5, "num_samples": 4},
        {"topk": 1, "opt_steps": 2},
        {"rollout_stride": 3},
        {"rollout_stride": 4, "replan_every": 2},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=r"topk|rollout_stride"):
        Nwm.Config(**settings)


def test_a_model_that_predicts_no_frames_is_refused():
    from unimm_eval.engine.registry import task_entries

    for name in ("nwm", "nwm:mini"):
        assert task_entries()[name].card.requires == ("PredictsFrames",)


@pytest.fixture
def official(tmp_path):
    """`official(root, …)`: the task on recordings, with an AlexNet of random weights."""
    from test_fid import save_alexnet

    from unimm_eval.engine.registry import task_entries

    path = tmp_path / "data/judges/lpips/alexnet-owt-7be5be79.pth"
    save_alexnet(path)

    def make(root, **settings):
        card = task_entries()["nwm"].card.model_dump()
        for file in card["data"]["files"]:
            if file["name"].startswith("judges"):
                file["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
                file.pop("size", None)
        few = {"num_samples": 12, "num_repeats": 3, "num_inference_steps": 2, "dataset": "rooms"}
        config = Nwm.Config(**{"path": root, **few, **settings})
        return Nwm(Card.model_validate(card), config, data_dir=tmp_path / "data")

    return make


def test_recordings_are_planned_on_and_faults_are_counted(official, context, tmp_path):
    root = tmp_path / "rooms"
    names = write_rooms(root, split="test", count=4, steps=14)
    (root / names[2] / "11.jpg").unlink()
    (root / names[3] / "traj_data.pkl").unlink()
    poses = np.zeros((15, 2))
    poses[7] = np.nan
    write_poses(root / names[3], positions=poses, yaw=np.zeros(15))
    rows = [[name, 3, 8, 8] for name in names] + [[names[0], 6, 8, 8], [names[1], 9, 8, 8]]
    rows += [["nowhere", 3, 8, 8]]
    (tmp_path / "index.json").write_text(json.dumps(rows))
    model = Still()
    run = run_task(official(root, index=tmp_path / "index.json"), model, context)
    told = [output.error or "" for output in run.outputs]
    wanted = ("", "", "frame 11 is missing", "not finite", "", "outside the", "no such trajectory")
    assert all(words in error for words, error in zip(wanted, told, strict=True))
    assert [bool(error) for error in told] == [bool(words) for words in wanted]
    ate = run.metrics["ate"]
    assert (ate.n, ate.unscored) == (3, 4)
    assert ate.facts["distance"].startswith("lpips 0.1, AlexNet ")
    assert ate.facts["protocol"] == "released"
    assert {frame.shape for frames in model.opened for frame in frames} == {(224, 224, 3)}


def test_what_is_missing_is_one_message(make_task, tmp_path):
    with pytest.raises(UserError) as raised:
        make_task("nwm").check()
    assert "needs recorded trajectories" in raised.value.what
    assert "alexnet-owt-7be5be79.pth is missing" in raised.value.what
    assert "unimm-eval data fetch nwm" in raised.value.fix
    with pytest.raises(ValueError, match="dataset"):
        Nwm.Config(dataset="go_stanford")


def test_the_straight_line_of_the_rooms_goes_ahead(make_task):
    step = to_waypoints(np.array(make_task("nwm:mini").prior.mean[:2]))
    assert 0.8 < step[0] < 1.3
    assert step[1] == 0
