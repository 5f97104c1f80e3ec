"""RECON's recordings (HDF5) as trajectories in NWM's folder format.

A recording has `jackal/position` [T, 3], `jackal/yaw` [T] and `images/rgb_left` [T], each frame the
bytes of a JPEG, at 4 frames a second. As in visualnav-transformer's `process_recon.py`, which NWM
uses, all of them are taken; the bytes of the frames are written as they are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import PictureError, SampleError, UserError, decode_picture
from unimm_eval.world.nwm_folder import CONVERTED, write_poses

_POSITION, _YAW, _FRAMES = "jackal/position", "jackal/yaw", "images/rgb_left"
SUFFIXES = (".hdf5", ".h5")


def recordings(path: Path) -> list[Path]:
    """The HDF5 files that `path` is or holds, sorted."""
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    return sorted(found for found in path.glob("*") if found.suffix in SUFFIXES)


def convert_recordings(path: Path, root: Path) -> tuple[list[str], list[str]]:
    """Write each recording of `path` as a folder under `root`; the names of those that are there
    then, and what is wrong with those that cannot be used. Ones that are there already stay.

    Raises UserError when there is none, or h5py is not installed.
    """
    files = recordings(path)
    if not files:
        raise UserError(f"{path} holds no recording.", fix="RECON's are .hdf5 files.")
    names, faults = [], []
    for file in files:
        try:
            _convert(file, root / file.stem)
            names.append(file.stem)
        except SampleError as error:
            faults.append(error.what)
    return names, faults


def _convert(file: Path, folder: Path) -> None:
    """Raises SampleError for a recording that is damaged or has no such content. The poses are
    written last: a folder that has them is whole."""
    if (folder / CONVERTED).is_file():
        return
    h5py = _h5py()
    try:
        with h5py.File(file, "r") as recording:
            if missing := [key for key in (_POSITION, _YAW, _FRAMES) if key not in recording]:
                raise SampleError(f"{file}: has no {', '.join(missing)}")
            position = np.asarray(recording[_POSITION][()], np.float64)
            yaw = np.asarray(recording[_YAW][()], np.float64).reshape(-1)
            frames = recording[_FRAMES]
            if (
                position.ndim != 2
                or position.shape[1] < 2
                or not (len(position) == len(yaw) == len(frames))
            ):
                raise SampleError(
                    f"{file}: position {position.shape}, yaw {yaw.shape} and "
                    f"{len(frames)} frames do not belong together"
                )
            folder.mkdir(parents=True, exist_ok=True)
            for i, data in enumerate(_bytes_of(frames)):
                decode_picture(data, name=f"{file}: frame {i}")
                (folder / f"{i}.jpg").write_bytes(data)
    except PictureError as error:
        raise SampleError(error.what) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SampleError(f"{file}: not a recording that can be read ({error})") from error
    write_poses(folder, positions=position[:, :2], yaw=yaw)


def _bytes_of(frames: Any) -> Iterator[bytes]:
    """HDF5 holds bytes as a fixed string, an opaque value or an array of numbers."""
    for frame in frames:
        yield frame if isinstance(frame, bytes) else np.asarray(frame).tobytes()


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "RECON's recordings are HDF5 files, and h5py is not installed.",
            fix="pip install 'unimm-eval[hdf5]'",
        ) from error
    return h5py
