"""`unimm-eval data convert|rooms`: trajectories in NWM's folder format."""

from pathlib import Path

import typer

from unimm_eval.api import UserError
from unimm_eval.world.draw import SPLITS
from unimm_eval.world.nwm_folder import convert as convert_poses
from unimm_eval.world.nwm_recon import convert_recordings, recordings
from unimm_eval.world.rooms_disk import write_rooms


def convert(path: Path, *, to: Path | None) -> None:
    """Poses of all trajectories as safetensors; HDF5 files as trajectories in the folder `to`.
    Raises UserError that names each one that cannot be used; the others are done."""
    if recordings(path):
        if to is None:
            raise UserError(f"{path} holds HDF5 files.", fix="--to FOLDER says where frames go.")
        names, faults = convert_recordings(path, to)
        done = len(names)
    else:
        if to is not None:
            raise UserError("--to is for HDF5 files; poses stay beside their pickles.")
        done, faults = convert_poses(path)
    typer.echo(f"{done:,} trajectories are ready.")
    if faults:
        raise UserError(
            f"{len(faults):,} trajectories cannot be used:\n"
            + "\n".join(f"- {fault}" for fault in faults)
        )


def rooms(folder: Path, *, split: str, count: int, steps: int, size: int, png: bool) -> None:
    """Write the first recordings of a split."""
    chosen = next((known for known in SPLITS if known == split), None)
    if chosen is None:
        raise UserError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    try:
        names = write_rooms(folder, split=chosen, count=count, steps=steps, size=size, png=png)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    typer.echo(f"{len(names):,} trajectories of {steps + 1:,} frames are in {folder}.")
