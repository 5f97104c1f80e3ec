"""Trajectories in NWM's folder format: `<trajectory>/0.jpg, 1.jpg, …` and `traj_data.pkl`.

The pickle is a dictionary of `position` [T, 2], metres, and `yaw` [T] or [T, 1], radians. It is
read once, without running anything in it (`nwm_pickle`), and kept beside it as
`traj_data.safetensors`, which is read from then on. Frames may also be PNG.

What is wrong with a trajectory is told by `Trajectory.fault` for the frames that are asked about:
one broken frame costs only the instances that show it.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from unimm_eval.api import Picture, PictureError, SampleError, UserError, encode_png
from unimm_eval.world.nwm_pickle import load_arrays
from unimm_eval.world.poses import local_actions

__all__ = [
    "Trajectory",
    "convert",
    "local_actions",
    "read_trajectory",
    "trajectory_names",
    "write_poses",
    "write_trajectory",
]

PICKLE = "traj_data.pkl"
CONVERTED = "traj_data.safetensors"
SUFFIXES = (".jpg", ".jpeg", ".png")
_PICKLED = "sha256 of the pickle"


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Poses (`positions` [T, 2] in metres, `yaw` [T] in radians) and the pictures seen at them.

    A picture that is not there is None. Nothing is decoded before it is looked at.
    """

    name: str
    positions: np.ndarray
    yaw: np.ndarray
    pictures: Sequence[Picture | None] = field(repr=False)

    def __len__(self) -> int:
        return len(self.yaw)

    def __post_init__(self) -> None:
        if self.positions.shape != (len(self.yaw), 2) or self.yaw.ndim != 1:
            shapes = f"positions {self.positions.shape} and yaw {self.yaw.shape}"
            raise ValueError(f"{self.name}: {shapes} are not [T, 2] and [T]")

    @property
    def poses(self) -> np.ndarray:
        """[T, 3]: x, y, yaw."""
        return np.column_stack((self.positions, self.yaw))

    def frame(self, i: int) -> Picture:
        """The picture at pose i. Raises PictureError when there is no such frame."""
        picture = self.pictures[i] if 0 <= i < len(self.pictures) else None
        if picture is None:
            raise PictureError(f"{self.name}: frame {i} is missing")
        return picture

    def fault(self, frames: Iterable[int], *, poses: Iterable[int] = ()) -> str:
        """Why the frames (and the poses at them and at `poses`) cannot be used, naming the
        trajectory and the first frame that is at fault; empty where they can.

        Reads the pictures, whose sizes have to be equal.
        """
        shown = list(frames)
        for i in [*shown, *poses]:
            if not 0 <= i < len(self):
                return f"{self.name}: frame {i} is outside the trajectory, which has {len(self)}"
            if not (np.isfinite(self.positions[i]).all() and np.isfinite(self.yaw[i])):
                return f"{self.name}: the pose of frame {i} is not finite"
        sizes: dict[tuple[int, ...], int] = {}
        for i in shown:
            try:
                sizes.setdefault(self.frame(i).load().shape[:2], i)
            except PictureError as error:
                return error.what if self.name in error.what else f"{self.name}: {error.what}"
        if len(sizes) > 1:
            (size, i), (other, j) = list(sizes.items())[:2]
            return (
                f"{self.name}: frame {j} is {other[1]}x{other[0]} pixels, but frame {i} is "
                f"{size[1]}x{size[0]}"
            )
        return ""


class _FramesOnDisk(Sequence[Picture | None]):
    """The frames of a folder, looked for in one listing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _paths(self) -> dict[int, Path]:
        return {
            int(path.stem): path
            for path in sorted(self._folder.iterdir())
            if path.suffix.lower() in SUFFIXES and path.stem.isascii() and path.stem.isdigit()
        }

    def __len__(self) -> int:
        return max(self._paths, default=-1) + 1

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        path = self._paths.get(i)
        return None if path is None else Picture(path=path)


def trajectory_names(root: Path) -> list[str]:
    """Folders under `root` that hold a trajectory, sorted. Raises UserError when there is none."""
    try:
        names = sorted(
            path.name
            for path in root.iterdir()
            if (path / PICKLE).is_file() or (path / CONVERTED).is_file()
        )
    except OSError as error:
        raise UserError(f"{root} cannot be read: {error.strerror}.") from error
    if not names:
        raise UserError(
            f"{root} holds no trajectory.",
            fix=f"A trajectory is a folder of 0.jpg, 1.jpg, … with {PICKLE} or {CONVERTED}.",
        )
    return names


def read_trajectory(root: Path, name: str) -> Trajectory:
    """The trajectory `name` of a data set. Raises SampleError when it is not there or its poses
    cannot be used; what is wrong with frames shows when they are looked at."""
    folder = root / name
    if not folder.is_dir():
        raise SampleError(f"{name}: no such trajectory in {root}")
    try:
        positions, yaw = _poses(folder)
    except UserError as error:
        raise SampleError(error.what, fix=error.fix) from error
    return Trajectory(name=name, positions=positions, yaw=yaw, pictures=_FramesOnDisk(folder))


def convert(root: Path) -> tuple[int, list[str]]:
    """Write the poses of every trajectory under `root` beside its pickle; how many there are, and
    what is wrong with those that cannot be. Raises UserError when `root` holds no trajectory."""
    faults = []
    names = trajectory_names(root)
    for name in names:
        try:
            _poses(root / name)
        except UserError as error:
            faults.append(error.what)
    return len(names) - len(faults), faults


def write_trajectory(
    root: Path,
    *,
    name: str,
    positions: np.ndarray,
    yaw: np.ndarray,
    frames: Iterable[np.ndarray],
    png: bool = False,
) -> Path:
    """A folder as NWM's: frames as JPEG (quality 95, or PNG) and poses as a pickle of arrays."""
    import pickle

    from PIL import Image

    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        if png:
            (folder / f"{i}.png").write_bytes(encode_png(frame))
        else:
            Image.fromarray(frame).save(folder / f"{i}.jpg", quality=95, subsampling=0)
    data = {"position": np.asarray(positions, np.float64), "yaw": np.asarray(yaw, np.float64)}
    with (folder / PICKLE).open("wb") as file:
        pickle.dump(data, file, protocol=4)
    return folder


def write_poses(folder: Path, *, positions: np.ndarray, yaw: np.ndarray) -> None:
    """`traj_data.safetensors` of a trajectory that has no pickle. Raises UserError where it cannot
    be written."""
    try:
        _write(folder / CONVERTED, positions, yaw, "")
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error


def _poses(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [T, 2] and yaw [T], fp64, from the converted file where it is of this pickle."""
    from safetensors import SafetensorError, safe_open

    converted, pickled = folder / CONVERTED, folder / PICKLE
    digest = hashlib.sha256(pickled.read_bytes()).hexdigest() if pickled.is_file() else ""
    if converted.is_file():
        try:
            with safe_open(converted, framework="numpy") as file:
                known = (file.metadata() or {}).get(_PICKLED, "")
                if not digest or known == digest:
                    return _checked(
                        converted,
                        {key: file.get_tensor(key) for key in file.keys()},  # noqa: SIM118
                    )
        except (SafetensorError, OSError) as error:
            raise UserError(f"{converted}: not a safetensors file ({error}).") from error
    if not digest:
        raise UserError(f"{folder} has neither {PICKLE} nor {CONVERTED}.")
    positions, yaw = _checked(pickled, load_arrays(pickled))
    _keep(converted, positions, yaw, digest)
    return positions, yaw


def _keep(path: Path, positions: np.ndarray, yaw: np.ndarray, digest: str) -> None:
    with suppress(OSError):  # a data set that cannot be written to is read from its pickles
        _write(path, positions, yaw, digest)


def _write(path: Path, positions: np.ndarray, yaw: np.ndarray, digest: str) -> None:
    """Whole or not at all. Raises OSError."""
    from safetensors.numpy import save

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    tensors = {"position": np.ascontiguousarray(positions), "yaw": np.ascontiguousarray(yaw)}
    try:
        part.write_bytes(save(tensors, metadata={_PICKLED: digest}))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _checked(path: Path, data: object) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(data, dict) or not {"position", "yaw"} <= data.keys():
        raise UserError(f"{path}: not a dictionary of position and yaw.")
    try:
        position = np.ascontiguousarray(data["position"], np.float64)
        yaw = np.ascontiguousarray(data["yaw"], np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: position or yaw is not numbers ({error}).") from error
    shapes = f"position {position.shape} and yaw {yaw.shape}"
    yaw = yaw[:, 0] if yaw.ndim == 2 and yaw.shape[1:] == (1,) else yaw
    if position.ndim != 2 or position.shape[1] < 2 or yaw.shape != position.shape[:1]:
        raise UserError(f"{path}: {shapes} are not [T, 2] and [T] or [T, 1].")
    return np.ascontiguousarray(position[:, :2]), yaw
