"""NWM's split and index files.

A split (`traj_names.txt`, `rollout_traj_names.txt`) is names of trajectories, one a line. An index
(`navigation_eval.pkl`, `rollout.pkl`, `time.pkl`, or the same as JSON) is a list of (trajectory,
frame, least distance, most distance): an instance begins at `frame`, the last one that is shown,
and distances are frames from there, negative ones before it. Planning has 8 for both.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval import data
from unimm_eval.api import UserError
from unimm_eval.world.nwm_pickle import load_plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One question of an index: `frame` of `trajectory`, and how far from it goals are, in
    frames."""

    trajectory: str
    frame: int
    nearest: int
    farthest: int


def read_split(path: Path) -> list[str]:
    """Names of trajectories, in order. Raises UserError for what is not a list of them."""
    names = [line.strip() for line in data.read_text(path).splitlines() if line.strip()]
    for number, name in enumerate(names, start=1):
        if not is_name(name):
            raise UserError(f"{path}: name {number} is not that of a folder: {name[:80]!r}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: {twice} stands in it twice")
    return names


def read_index(path: Path) -> list[Instance]:
    """Instances, in order. Raises UserError, which names the file and the first row that is none;
    a pickle that names anything is refused."""
    if path.suffix == ".pkl":
        rows = load_plain(path)
    else:
        try:
            rows = json.loads(data.read_text(path))
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path}: not JSON ({error}).") from error
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path}: not a list of instances.")
    return [_instance(path, number, row) for number, row in enumerate(rows)]


def is_name(name: object) -> bool:
    """Whether this is the plain name of a folder, that leads nowhere else."""
    return (
        isinstance(name, str)
        and bool(name)
        and name not in (".", "..")
        and name.isprintable()
        and not {"/", "\\"} & set(name)
    )


def _instance(path: Path, number: int, row: Any) -> Instance:
    match row:
        case [str() as name, *numbers] if is_name(name) and len(numbers) == 3:
            if all(isinstance(value, int) and not isinstance(value, bool) for value in numbers):
                frame, nearest, farthest = numbers
                if frame >= 0 and nearest <= farthest:
                    return Instance(
                        trajectory=name, frame=frame, nearest=nearest, farthest=farthest
                    )
    raise UserError(
        f"{path}: row {number} is not (trajectory, frame, least distance, most distance): "
        f"{str(row)[:80]}"
    )
