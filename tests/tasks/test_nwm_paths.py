"""ATE and RPE of planned paths: evo's, in closed form, and as NWM's own numbers are made."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm_eval.tasks.nwm.baselines import baseline_errors, by_lot
from unimm_eval.tasks.nwm.candidates import (
    motions_of,
    poses_of,
    texts_of,
    to_normalised,
    to_waypoints,
)
from unimm_eval.tasks.nwm.cem import Cem, Prior, prior_of
from unimm_eval.tasks.nwm.metrics import angle_between, closed_form, path_errors
from unimm_eval.world.poses import waypoints_of

REAL = Path(os.environ.get("UNIMM_EVAL_TEST_DATA", "absent")) / "trajectories"


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_errors_are_those_of_the_closed_form(length, seed, size):
    rng = np.random.default_rng(seed)
    truth, planned = rng.standard_normal((2, length, 2)) * size
    found = path_errors(truth, planned)
    error = truth - planned
    ate = np.sqrt((error**2).sum(1).mean())
    rpe = np.sqrt((np.diff(error, axis=0) ** 2).sum(1).mean())  # length - 1 pairs, no origin
    assert found.ate == pytest.approx(ate, rel=1e-12, abs=1e-12)
    assert found.rpe == pytest.approx(rpe, rel=1e-12, abs=1e-12)
    many = closed_form(truth, np.stack([planned, truth]))
    assert many[0] == pytest.approx([found.ate, 0], rel=1e-12, abs=1e-12)
    assert many[1] == pytest.approx([found.rpe, 0], rel=1e-12, abs=1e-12)


def test_paths_of_two_lengths_or_one_point_have_no_error():
    for truth, planned in ((np.zeros((3, 2)), np.zeros((4, 2))), (np.zeros((1, 2)),) * 2):
        with pytest.raises(ValueError, match="no paths of one length"):
            path_errors(truth, planned)


@pytest.mark.skipif(not REAL.is_dir(), reason="UNIMM_EVAL_TEST_DATA names no folder of it")
def test_a_real_pair_of_trajectories_has_the_errors_of_evos_command_line():
    from evo import main_ape, main_rpe
    from evo.core import metrics, sync
    from evo.tools import file_interface

    names = ("freiburg1_xyz-groundtruth.txt", "freiburg1_xyz-rgbdslam.txt")
    pair = [file_interface.read_tum_trajectory_file(str(REAL / name)) for name in names]
    truth, planned = sync.associate_trajectories(*pair)
    part = metrics.PoseRelation.translation_part
    ape = main_ape.ape(truth, planned, pose_relation=part)
    rpe = main_rpe.rpe(
        truth, planned, pose_relation=part, delta=1.0, delta_unit=metrics.Unit.frames
    )
    found = path_errors(
        truth.positions_xyz,
        planned.positions_xyz,
        orientations=(truth.orientations_quat_wxyz, planned.orientations_quat_wxyz),
    )
    assert found.ate == pytest.approx(ape.stats["rmse"], rel=1e-12)
    assert found.rpe == pytest.approx(rpe.stats["rmse"], rel=1e-12)


def test_angles_are_compared_on_the_circle():
    assert angle_between(np.pi - 0.1, -np.pi + 0.1) == pytest.approx(0.2)
    assert angle_between(0.3, 0.3 + 4 * np.pi) == pytest.approx(0, abs=1e-12)


def test_the_normalised_space_is_nwms():
    assert to_waypoints(np.array([-1.0, -1.0])).tolist() == [-2.5, -4.0]
    assert to_waypoints(np.array([1.0, 1.0])).tolist() == [5.0, 4.0]
    prior = prior_of("recon")
    assert to_waypoints(np.array(prior.mean[:2])) == pytest.approx([0.875, 0.0])
    steps = np.random.default_rng(0).standard_normal((5, 2))
    assert to_waypoints(to_normalised(steps)) == pytest.approx(steps)


CANDIDATES = np.array([[-0.1, 0.0, 0.0], [-0.1, 0.1, 0.2], [0.3, -0.2, -0.4]])


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_motions_lead_where_the_path_goes(stride):
    """Corrected: the motions, one after the other, end at every stride-th waypoint."""
    poses = poses_of(CANDIDATES, horizon=8)
    motions = motions_of(CANDIDATES, horizon=8, stride=stride, protocol="corrected")
    for pose, motion in zip(poses, motions, strict=True):
        reached = waypoints_of(motion)
        assert reached == pytest.approx(pose[stride - 1 :: stride], abs=1e-12)


def test_the_released_protocol_tells_every_step_as_seen_from_the_first_frame():
    one = motions_of(CANDIDATES, horizon=8, stride=1, protocol="released")
    assert (one[:, :, :2] == one[:, :1, :2]).all()
    jumps = motions_of(CANDIDATES, horizon=8, stride=8, protocol="released")
    assert jumps[:, 0, :2] == pytest.approx(to_waypoints(8 * CANDIDATES[:, :2]))
    with pytest.raises(ValueError, match="does not divide"):
        motions_of(CANDIDATES, horizon=8, stride=3, protocol="released")


def test_actions_are_texts_in_hundredths():
    motions = motions_of(CANDIDATES[:1], horizon=8, stride=8, protocol="corrected")
    assert texts_of(motions[0]) == ["+700+000+000"]


def search(protocol, **settings):
    """A planner that knows where the goal is in the space of candidates."""
    cem = Cem(**{"num_samples": 120, "topk": 5, "opt_steps": 1, "protocol": protocol, **settings})
    prior = Prior(mean=(-0.1, 0.0, 0.0), std=(0.02, 0.1, 0.1))
    goal = np.array([-0.11, 0.05, 0.06])

    def distances(candidates):
        return np.linalg.norm((candidates - goal) / prior.std, axis=1)[:, None]

    return goal, *cem.search(prior, distances, rng=np.random.default_rng(0))


def test_a_released_turn_is_pi_times_too_large():
    goal, corrected, (first,) = search("corrected")
    _, released, _ = search("released")
    assert released[:2] == pytest.approx(corrected[:2])
    assert released[2] == pytest.approx(np.pi * corrected[2])
    elite = first.candidates[np.argsort(first.distances[:, 0])[:5]]
    assert corrected == pytest.approx(elite.mean(axis=0))
    yaw = {
        name: poses_of(plan[None], horizon=8)[0, -1, 2]
        for name, plan in (("corrected", corrected), ("released", released))
    }
    heading = poses_of(corrected[None], horizon=8)[0, 0, 2]
    assert yaw["released"] - heading == pytest.approx(np.pi * (yaw["corrected"] - heading))
    assert abs(corrected[2] - goal[2]) < abs(released[2] - goal[2])


def test_more_iterations_come_nearer():
    goal, once, _ = search("corrected")
    _, thrice, done = search("corrected", opt_steps=3)
    assert np.linalg.norm(thrice - goal) < np.linalg.norm(once - goal)
    assert [len(each.candidates) for each in done] == [120, 120, 120]


def test_baselines_are_the_paths_they_say():
    truth = poses_of(CANDIDATES[1:2], horizon=8)[0, :, :2]
    found = baseline_errors(truth, prior_of("recon"), [CANDIDATES[:1], CANDIDATES[1:]])
    assert found["stand_still"].ate == pytest.approx(np.sqrt((truth**2).sum(1).mean()))
    assert found["straight"].ate == pytest.approx(found["random"].ate)  # the mean is drawn alone
    assert found["best"].ate == pytest.approx(0, abs=1e-12)
    assert by_lot(truth, CANDIDATES[1:2], topk=1) == pytest.approx(0, abs=1e-12)
