"""NWM's files: poses, frames, splits and indices are read, and what is wrong with them is told."""

import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimm_eval.api import Picture, SampleError, UserError
from unimm_eval.world.nwm_datasets import ACTION_HIGH, ACTION_LOW, DATASETS, dataset
from unimm_eval.world.nwm_folder import (
    Trajectory,
    convert,
    local_actions,
    read_trajectory,
    trajectory_names,
    write_trajectory,
)
from unimm_eval.world.nwm_index import Instance, read_index, read_split
from unimm_eval.world.nwm_pickle import load_arrays, load_plain
from unimm_eval.world.nwm_pictures import shown
from unimm_eval.world.nwm_recon import convert_recordings
from unimm_eval.world.poses import wrapped
from unimm_eval.world.rooms_disk import recorded_path, room_trajectory, write_rooms

REAL = Path(os.environ.get("UNIMM_EVAL_TEST_DATA", "absent")) / "nwm"
real = pytest.mark.skipif(not REAL.is_dir(), reason="UNIMM_EVAL_TEST_DATA names no real files")


def loops(count):
    """Positions and yaw of a circle of 1 m."""
    yaw = np.linspace(0, 3, count)
    return np.stack((np.sin(yaw), 1 - np.cos(yaw)), axis=1), yaw


def frames(count, size=(12, 16)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


def drive(root, name="drive", count=8, **changes):
    positions, yaw = loops(count)
    given = {"positions": positions, "yaw": yaw, "frames": frames(count), "png": True, **changes}
    write_trajectory(root, name=name, **given)
    return read_trajectory(root, name)


# --- poses


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i8"])
def test_poses_of_any_protocol_type_and_order(tmp_path, protocol, column, dtype):
    folder = tmp_path / "a"
    folder.mkdir()
    position = np.asfortranarray(np.arange(12).reshape(4, 3), dtype=dtype)
    yaw = np.arange(4.0).reshape((4, 1) if column else 4)
    data = pickle.dumps({"position": position, "yaw": yaw, "n": np.float32(2)}, protocol=protocol)
    (folder / "traj_data.pkl").write_bytes(data)
    read = read_trajectory(tmp_path, "a")
    assert np.array_equal(read.positions, position[:, :2])
    assert np.array_equal(read.yaw, np.arange(4.0))
    assert read.positions.dtype == read.yaw.dtype == np.float64


def test_a_pickle_is_read_once_and_again_when_it_is_another(tmp_path):
    first = drive(tmp_path)
    converted = tmp_path / "drive" / "traj_data.safetensors"
    assert converted.is_file()
    pickled = tmp_path / "drive" / "traj_data.pkl"
    written = pickled.read_bytes()
    pickled.unlink()
    assert np.array_equal(read_trajectory(tmp_path, "drive").poses, first.poses)
    pickled.write_bytes(pickle.dumps({"position": np.zeros((8, 2)), "yaw": np.zeros(8)}))
    assert not read_trajectory(tmp_path, "drive").positions.any()
    pickled.write_bytes(written)
    assert np.array_equal(read_trajectory(tmp_path, "drive").poses, first.poses)
    assert convert(tmp_path) == (1, [])


class Harmful:
    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("load", [load_plain, load_arrays])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_a_function_is_refused_by_the_name(tmp_path, load, protocol):
    path, mark = tmp_path / "traj_data.pkl", tmp_path / "mark"
    data = {"position": np.zeros((2, 2)).tolist(), "yaw": [Harmful(os.mkdir, str(mark))]}
    path.write_bytes(pickle.dumps(data, protocol=protocol))
    with pytest.raises(UserError, match=r"names (posix|nt)\.mkdir, which is not data"):
        load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a", "b"]),
        np.array([{}, None]),
        np.dtype("f8"),
        np.zeros(2, dtype=[("a", "f8")]),
        np.zeros(2, dtype="M8[s]"),
    ],
)
def test_only_numbers_are_taken(tmp_path, value):
    path = tmp_path / "traj_data.pkl"
    path.write_bytes(pickle.dumps({"position": value, "yaw": value}))
    with pytest.raises(UserError, match=r"traj_data\.pkl: "):
        load_arrays(path)


def test_a_list_that_holds_itself_is_told(tmp_path):
    endless = []
    endless.append(endless)
    path = tmp_path / "traj_data.pkl"
    path.write_bytes(pickle.dumps(endless))
    with pytest.raises(UserError, match="without end"):
        load_arrays(path)


def test_an_index_holds_no_arrays(tmp_path):
    path = tmp_path / "navigation_eval.pkl"
    path.write_bytes(pickle.dumps([("a", np.int64(3), 8, 8)]))
    with pytest.raises(UserError, match="which is not data"):
        read_index(path)


@pytest.mark.parametrize("cut", [0, 1, 10, 60])
def test_a_damaged_pickle_is_named(tmp_path, cut):
    drive(tmp_path)
    path = tmp_path / "drive" / "traj_data.pkl"
    (tmp_path / "drive" / "traj_data.safetensors").unlink()
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(SampleError, match=r"traj_data\.pkl: not a pickle"):
        read_trajectory(tmp_path, "drive")
    done, (fault,) = convert(tmp_path)
    assert done == 0
    assert "traj_data.pkl" in fault


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"position": np.zeros((3, 2))}, "not a dictionary of position and yaw"),
        ([1, 2], "not a dictionary"),
        ({"position": np.zeros((3, 2)), "yaw": np.zeros(4)}, r"\(3, 2\) and yaw \(4,\)"),
        ({"position": np.zeros(3), "yaw": np.zeros(3)}, r"position \(3,\)"),
        ({"position": "here", "yaw": np.zeros(3)}, "not numbers"),
    ],
)
def test_what_is_no_poses_is_told(tmp_path, data, told):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "traj_data.pkl").write_bytes(pickle.dumps(data))
    with pytest.raises(SampleError, match=told):
        read_trajectory(tmp_path, "a")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no trajectory"):
        trajectory_names(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        trajectory_names(tmp_path / "nowhere")
    with pytest.raises(SampleError, match="b: no such trajectory"):
        read_trajectory(tmp_path, "b")
    (tmp_path / "c").mkdir()
    with pytest.raises(SampleError, match="has neither"):
        read_trajectory(tmp_path, "c")


# --- faults of a trajectory


def test_a_sound_trajectory_has_no_fault(tmp_path):
    read = drive(tmp_path)
    assert len(read) == 8
    assert read.fault(range(8)) == ""
    assert np.array_equal(read.frame(5).load(), frames(8)[5])
    assert trajectory_names(tmp_path) == ["drive"]


def test_too_short_and_a_goal_outside(tmp_path):
    read = drive(tmp_path, count=6)
    assert read.fault([0, 1, 2, 3], poses=[11]) == (
        "drive: frame 11 is outside the trajectory, which has 6"
    )
    assert "frame -1 is outside" in read.fault([-1, 0])


def test_a_missing_frame(tmp_path):
    read = drive(tmp_path)
    (tmp_path / "drive" / "2.png").unlink()
    assert read.fault([1, 2, 3]) == "drive: frame 2 is missing"
    assert read.fault([3, 4]) == ""
    with pytest.raises(SampleError, match="drive: frame 2 is missing"):
        read.frame(2)


def test_a_frame_that_does_not_decode(tmp_path):
    read = drive(tmp_path)
    (tmp_path / "drive" / "2.png").write_bytes(b"no picture")
    assert "drive" in read.fault([2])
    assert "2.png: not a picture" in read.fault([2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_poses_that_are_not_finite(tmp_path, value):
    positions, yaw = loops(8)
    positions[5, 1] = value
    read = drive(tmp_path, positions=positions, yaw=yaw)
    assert read.fault([1, 2], poses=[4, 5]) == "drive: the pose of frame 5 is not finite"
    assert read.fault([1, 2], poses=[4, 6]) == ""


def test_mixed_sizes(tmp_path):
    mixed = [*frames(3), *frames(5, size=(24, 16))]
    read = drive(tmp_path, frames=mixed)
    assert read.fault([1, 2, 3]) == "drive: frame 3 is 16x24 pixels, but frame 1 is 16x12"
    assert read.fault([4, 5]) == ""


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"positions \(3, 2\) and yaw \(4,\)"):
        Trajectory(name="a", positions=np.zeros((3, 2)), yaw=np.zeros(4), pictures=[])


# --- rooms on disk


@pytest.mark.parametrize("png", [False, True])
def test_rooms_come_back_from_disk(tmp_path, png):
    names = write_rooms(tmp_path, split="val", count=2, steps=12, png=png)
    assert names == trajectory_names(tmp_path) == read_split(tmp_path / "traj_names.txt")
    for index, name in enumerate(names):
        kept = room_trajectory(split="val", index=index, steps=12)
        read = read_trajectory(tmp_path, name)
        assert read.fault(range(13)) == kept.fault(range(13)) == ""
        assert np.array_equal(read.poses, kept.poses)
        for i in range(13):
            apart = np.abs(read.frame(i).load().astype(int) - kept.frame(i).load())
            assert apart.mean() <= (0 if png else 4)


def test_a_longer_recording_begins_as_a_shorter_one():
    for index in range(3):
        room, short = recorded_path(split="test", index=index, steps=5)
        again, long = recorded_path(split="test", index=index, steps=20)
        assert room == again
        assert np.array_equal(short, long[:6])


# --- splits, indices, data sets


@real
def test_the_published_split_and_indices():
    split = read_split(REAL / "recon_test_traj_names.txt")
    assert len(split) == dataset("recon").trajectories[1] == 2367
    assert len(read_split(REAL / "recon_rollout_traj_names.txt")) == 64
    pickled = read_index(REAL / "recon_navigation_eval.pkl")
    assert pickled == read_index(REAL / "recon_navigation_eval.json")
    assert len(pickled) == 100
    assert len({row.trajectory for row in pickled}) == 36
    assert {(row.nearest, row.farthest) for row in pickled} == {(8, 8)}
    counts = {"navigation_eval": 100, "rollout": 150, "time": 500}
    for name, count in counts.items():
        rows = read_index(REAL / f"recon_{name}.json")
        assert len(rows) == count
        assert {row.trajectory for row in rows} <= set(split)
        assert {row.frame % 8 for row in rows} == {3}


@real
@pytest.mark.parametrize("load", [load_plain, load_arrays])
def test_the_published_pickle_with_a_function_in_it_is_refused(tmp_path, load):
    rows = load_plain(REAL / "recon_navigation_eval.pkl")
    path = tmp_path / "navigation_eval.pkl"
    path.write_bytes(pickle.dumps([*rows, Harmful(print, "called")]))
    with pytest.raises(UserError, match=r"names builtins\.print"):
        load(path)


def test_an_index_of_ones_own_reads_alike_as_pickle_and_json(tmp_path):
    rows = [("a", 3, 8, 8), ("b c", 11, -3, 64)]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    (tmp_path / "x.json").write_text(json.dumps(rows))
    expected = [
        Instance(trajectory=name, frame=frame, nearest=low, farthest=high)
        for name, frame, low, high in rows
    ]
    assert read_index(tmp_path / "x.pkl") == read_index(tmp_path / "x.json") == expected


@pytest.mark.parametrize(
    "rows",
    [
        [("a", 3, 8)], [("a", 3.5, 8, 8)], [("a", True, 8, 8)], [("a", -1, 8, 8)],
        [("../a", 3, 8, 8)], [("", 3, 8, 8)], [("a", 3, 9, 8)], ["a"], [3], [], {"a": 1},
    ],
)  # fmt: skip
def test_rows_that_are_no_instances_are_told(tmp_path, rows):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"x\.json: (row 0 is not|not a list)"):
        read_index(path)


@pytest.mark.parametrize("text", ["a\n../b\n", "a\nb/c\n", "a\na\n", "..\n"])
def test_names_that_lead_elsewhere_or_come_twice_are_told(tmp_path, text):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"names\.txt: "):
        read_split(path)


def test_priors_are_the_published_speeds():
    """RECON's (dx, dy) = 0.875 ± 0.075 and 0 ± 0.4 waypoints a step."""
    low, high = np.array(ACTION_LOW), np.array(ACTION_HIGH)
    recon = dataset("recon")
    mean = (np.array(recon.prior_mean[:2]) + 1) / 2 * (high - low) + low
    std = np.array(recon.prior_std[:2]) / 2 * (high - low)
    assert mean == pytest.approx([0.875, 0.0])
    assert std == pytest.approx([0.075, 0.4])
    with pytest.raises(UserError, match="no data set 'huron'; there are recon, "):
        dataset("huron")


def test_the_prior_of_rooms_is_that_of_their_paths():
    number = np.arange(1, 9)
    found = []
    for index in range(100):
        _, poses = recorded_path(split="train", index=index, steps=40)
        for begin in range(3, 33, 8):
            spacing = DATASETS["rooms"].spacing
            way = local_actions(poses[:, :2], poses[:, 2], begin, spacing)[:8]
            dx, dy = number @ way[:, :2] / (number @ number)
            found.append((dx, dy, wrapped(way[-1, 2] - np.arctan2(dy, dx)) / np.pi))
    low, high = np.array(ACTION_LOW), np.array(ACTION_HIGH)
    found = np.array(found)
    found[:, :2] = (found[:, :2] - low) / (high - low) * 2 - 1
    assert found.mean(axis=0) == pytest.approx(DATASETS["rooms"].prior_mean, abs=0.03)
    assert found.std(axis=0) == pytest.approx(DATASETS["rooms"].prior_std, rel=0.2)


# --- pictures


def test_the_middle_at_four_by_three_is_shown_as_a_square():
    wide = np.zeros((90, 160, 3), np.uint8)
    wide[:, 20:140] = 200
    assert (shown(wide) == 200).all()
    tall = np.zeros((160, 120, 3), np.uint8)
    tall[35:125] = 200
    assert (shown(tall) == 200).all()
    assert shown(wide).shape == (224, 224, 3)
    exact = frames(1, size=(240, 320))[0]
    resized = Image.fromarray(exact).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.array_equal(shown(exact), np.asarray(resized))
    square = frames(1, size=(32, 32))[0]
    assert np.array_equal(shown(square, size=32), square)


# --- RECON


def jpeg(frame):
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("stored", ["fixed", "numbers"])
def test_recon_recordings_become_folders(tmp_path, stored):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    positions, yaw = loops(5)
    data = [jpeg(frame) for frame in frames(5, size=(48, 64))]
    with h5py.File(tmp_path / "jackal_1.hdf5", "w") as file:
        file["jackal/position"] = np.column_stack((positions, np.ones(5)))
        file["jackal/yaw"] = yaw
        if stored == "fixed":
            file["images/rgb_left"] = np.array(data)
        else:
            kind = h5py.vlen_dtype(np.uint8)
            rows = file.create_dataset("images/rgb_left", (5,), dtype=kind)
            for i, row in enumerate(data):
                rows[i] = np.frombuffer(row, np.uint8)
    with h5py.File(tmp_path / "jackal_2.hdf5", "w") as file:
        file["jackal/yaw"] = yaw
    (tmp_path / "jackal_3.hdf5").write_bytes(b"no recording")
    names, faults = convert_recordings(tmp_path, tmp_path / "out")
    assert names == ["jackal_1"]
    assert "jackal_2.hdf5: has no jackal/position, images/rgb_left" in faults[0]
    assert "jackal_3.hdf5: not a recording" in faults[1]
    read = read_trajectory(tmp_path / "out", "jackal_1")
    assert np.array_equal(read.positions, positions)
    assert np.array_equal(read.yaw, yaw)
    assert read.fault(range(5)) == ""
    assert (tmp_path / "out" / "jackal_1" / "3.jpg").read_bytes() == data[3]
    assert convert_recordings(tmp_path / "jackal_1.hdf5", tmp_path / "out") == (["jackal_1"], [])


def test_a_folder_without_recordings_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no recording"):
        convert_recordings(tmp_path, tmp_path / "out")


def test_pictures_in_memory_have_faults_too():
    positions, yaw = loops(3)
    pictures = [Picture(array=frames(1)[0]), None, Picture(array=frames(1)[0])]
    drive = Trajectory(name="m", positions=positions, yaw=yaw, pictures=pictures)
    assert drive.fault([0, 2]) == ""
    assert drive.fault([0, 1]) == "m: frame 1 is missing"
