"""`unimm-eval data rooms|convert`."""

from pathlib import Path

from cli_program import Program, is_one_message


def test_rooms_are_written_and_made_ready(program: Program, tmp_path: Path) -> None:
    written = program("data", "rooms", "rooms", "--count", "2", "--steps", "5", "--split", "val")
    assert written.code == 0
    assert "2 trajectories of 6 frames" in written.out
    ready = program("data", "convert", "rooms")
    assert ready.code == 0
    assert "2 trajectories are ready" in ready.out
    folders = [path for path in (tmp_path / "rooms").iterdir() if path.is_dir()]
    assert all((folder / "traj_data.safetensors").is_file() for folder in folders)
    assert sorted(path.name for path in folders[0].glob("*.jpg")) == [f"{i}.jpg" for i in range(6)]
    (folders[0] / "traj_data.safetensors").unlink()
    (folders[0] / "traj_data.pkl").write_bytes(b"cos\nmkdir\n(S'x'\ntR.")
    harmful = program("data", "convert", "rooms")
    assert harmful.code == 2
    assert is_one_message(harmful)
    assert "names os.mkdir" in harmful.err
    assert "1 trajectories are ready" in harmful.out


def test_mistakes_are_one_message(program: Program, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.hdf5").write_bytes(b"")
    for arguments, told in (
        (("rooms", "out", "--split", "practice"), "no split 'practice'"),
        (("convert", "empty"), "holds no trajectory"),
        (("convert", "nowhere"), "cannot be read"),
        (("convert", "a.hdf5"), "--to FOLDER"),
        (("convert", "empty", "--to", "out"), "--to is for HDF5"),
    ):
        ended = program("data", *arguments)
        assert ended.code == 2
        assert is_one_message(ended)
        assert told in ended.err
