"""Instances of recorded trajectories: which frames are shown, and what is asked about them.

Trajectories are NWM's folders. An instance begins at a frame; three before it and itself are the
context, and what comes after it is the truth. Instances stand in an index of NWM's (`rollout.pkl`,
`time.pkl`), or begin every so many frames of every trajectory.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from unimm_eval.api import SampleError, UserError, stable_hash
from unimm_eval.api.actions import action_text
from unimm_eval.world.nwm_folder import Trajectory, read_trajectory, trajectory_names
from unimm_eval.world.nwm_index import Instance, read_index
from unimm_eval.world.nwm_pictures import shown
from unimm_eval.world.poses import as_motion, seen_from

CONTEXT = (-3, -2, -1, 0)
"""Frames that are shown, counted from an instance's own."""
EVERY = 16
"""Frames between two instances where there is no index."""


@lru_cache(maxsize=64)
def trajectory_at(root: Path, name: str) -> Trajectory:
    """Raises SampleError when it is not there or its poses cannot be used."""
    return read_trajectory(root, name)


def instances_of(root: Path, index: Path | None, *, ahead: int) -> list[Instance]:
    """Those of the index, or of every trajectory under `root`: from its fourth frame on, each
    `EVERY` frames, as long as `ahead` frames follow, and one of a trajectory that is too short, so
    that it is counted. Raises UserError."""
    if index is not None:
        return read_index(index.expanduser())
    found = []
    for name in trajectory_names(root):
        try:
            frames = len(trajectory_at(root, name))
        except SampleError:
            frames = 0
        first = -CONTEXT[0]
        begins = range(first, max(first + 1, frames - ahead), EVERY)
        found += [Instance(trajectory=name, frame=i, nearest=ahead, farthest=ahead) for i in begins]
    return found


def root_of(path: Path | None, *, task: str) -> Path:
    """Raises UserError when no folder was named, or it is none."""
    if path is None:
        raise UserError(
            f"the task `{task}` needs recorded trajectories",
            fix=f"--set {task}.path=FOLDER (NWM's folders: TRAJECTORY/0.jpg, 1.jpg, … and "
            "traj_data.pkl; unimm-eval data convert makes them of RECON's files).",
        )
    root = path.expanduser()
    if not root.is_dir():
        raise UserError(f"{root} is not a folder.", fix=f"Name another with --set {task}.path=…")
    return root


def fault_of(
    root: Path, instance: Instance, *, frames: Sequence[int], poses: Sequence[int] = ()
) -> str:
    """Why the frames (counted from the instance's own) cannot be shown, naming the trajectory, or
    nothing. Where the folder lies is left out: it is no part of the question."""
    at = instance.frame
    try:
        trajectory = trajectory_at(root, instance.trajectory)
        fault = trajectory.fault([at + i for i in frames], poses=[at + i for i in poses])
    except SampleError as error:
        fault = error.what
    return fault.replace(f" in {root}", "").replace(f"{root}/", "")


def context_of(trajectory: Trajectory, frame: int, *, size: int) -> list[np.ndarray]:
    """The four frames up to `frame` as a model sees them. Raises PictureError."""
    return frames_of(trajectory, [frame + i for i in CONTEXT], size=size)


def frames_of(trajectory: Trajectory, frames: Sequence[int], *, size: int) -> list[np.ndarray]:
    """uint8 [size, size, 3] each. Raises PictureError."""
    return [shown(trajectory.frame(i).load(), size=size) for i in frames]


def content_of(trajectory: Trajectory, frames: Sequence[int]) -> str:
    """Hash of what the frames hold. Raises PictureError."""
    return stable_hash([trajectory.frame(i).content() for i in frames])


def motion_texts(trajectory: Trajectory, frames: Sequence[int], *, spacing: float) -> list[str]:
    """The action from each of these frames to the next, as it is seen from the one before."""
    poses = trajectory.poses[list(frames)]
    return list(_texts(poses, spacing))


def _texts(poses: np.ndarray, spacing: float) -> Iterator[str]:
    for before, after in pairwise(poses):
        yield action_text(as_motion(seen_from(before, after[None], spacing=spacing)[0]))
