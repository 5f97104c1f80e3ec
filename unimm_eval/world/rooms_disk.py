"""Recorded drives through rooms: in memory, and in NWM's folder format on disk."""

from pathlib import Path

import numpy as np

from unimm_eval.api import Picture, canonical_json
from unimm_eval.world.draw import Split, rng_for
from unimm_eval.world.nwm_folder import Trajectory, write_trajectory
from unimm_eval.world.rooms import Room, sample_room, view
from unimm_eval.world.rooms_motion import sample_path
from unimm_eval.world.scenes import CANVAS

SPLIT_FILE = "traj_names.txt"
ROOM_FILE = "room.json"


def recorded_path(*, split: Split, index: int, steps: int) -> tuple[Room, np.ndarray]:
    """Room number `index` of a split, and the poses [steps + 1, 3] of a robot that wanders through
    it; a longer path begins as a shorter one does."""
    rng = rng_for(split=split, purpose="rooms", index=index)
    room = sample_room(rng)
    return room, sample_path(rng, room, steps=steps)


def room_trajectory(*, split: Split, index: int, steps: int, size: int = CANVAS) -> Trajectory:
    """The recording of `recorded_path`: a frame of `size` x `size` pixels at every pose."""
    room, poses = recorded_path(split=split, index=index, steps=steps)
    return Trajectory(
        name=name_of(split, index),
        positions=poses[:, :2],
        yaw=poses[:, 2],
        pictures=[Picture(array=frame) for frame in view(room, poses, size=size)],
    )


def write_rooms(
    root: Path, *, split: Split, count: int, steps: int, size: int = CANVAS, png: bool = False
) -> list[str]:
    """The first `count` recordings of a split as NWM has them: a folder each, and their names in
    `traj_names.txt`. Beside the poses of each stands the description of its room."""
    names = []
    for index in range(count):
        drive = room_trajectory(split=split, index=index, steps=steps, size=size)
        folder = write_trajectory(
            root,
            name=drive.name,
            positions=drive.positions,
            yaw=drive.yaw,
            frames=(drive.frame(i).load() for i in range(len(drive))),
            png=png,
        )
        room, _ = recorded_path(split=split, index=index, steps=0)
        (folder / ROOM_FILE).write_text(canonical_json(room.to_json()) + "\n", encoding="utf-8")
        names.append(drive.name)
    (root / SPLIT_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return names


def name_of(split: Split, index: int) -> str:
    return f"room_{split}_{index:04d}"
