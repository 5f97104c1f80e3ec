"""Errors of a planned path: ATE and RPE by evo, and the same numbers in closed form.

With e_i = true − planned position at waypoint i of T,

    ATE = √(mean_i |e_i|²)                  RPE = √(mean_i |e_{i+1} − e_i|²), T − 1 pairs

for headings that are the same everywhere, which is what NWM's code gives evo. Nothing is aligned or
scaled, and the start, where both are at the origin, is no waypoint. Both are in the unit of the
positions.

evo is GPL-3.0-or-later, and imported here alone, when a path is measured.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

_ORIENTATION = (0.0, 0.0, 0.0, 1.0)  # NWM's constant, wxyz: a half turn about z


@dataclass(frozen=True, kw_only=True)
class PathErrors:
    ate: float
    rpe: float


def path_errors(
    truth: np.ndarray, planned: np.ndarray, *, orientations: tuple[Any, Any] | None = None
) -> PathErrors:
    """Of two paths [T, 2 or 3] by evo's APE and RPE of the translation part, delta one frame.

    `orientations` are unit quaternions wxyz [T, 4] of the true and the planned poses. Raises
    ValueError for paths of different lengths or fewer than two waypoints.
    """
    from evo.core.metrics import APE, RPE, PoseRelation, StatisticsType, Unit

    if truth.shape != planned.shape or len(truth) < 2:
        raise ValueError(f"no paths of one length, at least 2: {truth.shape}, {planned.shape}")
    turned = orientations or (None, None)
    pair = tuple(_path(each, turn) for each, turn in zip((truth, planned), turned, strict=True))
    part = PoseRelation.translation_part
    found = []
    for metric in (APE(part), RPE(part, delta=1.0, delta_unit=Unit.frames)):
        metric.process_data(pair)
        found.append(float(metric.get_statistic(StatisticsType.rmse)))
    return PathErrors(ate=found[0], rpe=found[1])


def _path(positions: np.ndarray, orientations: np.ndarray | None) -> Any:
    from evo.core.trajectory import PosePath3D

    xyz = np.zeros((len(positions), 3))
    xyz[:, : positions.shape[1]] = positions
    if orientations is None:
        orientations = np.tile(_ORIENTATION, (len(positions), 1))
    return PosePath3D(positions_xyz=xyz, orientations_quat_wxyz=orientations)


def closed_form(truth: np.ndarray, planned: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ATE [N], RPE [N]) of paths [N, T, D] against one [T, D]: for the many candidates of a
    search, where evo would take longer than the search."""
    error = truth - planned
    ate = np.sqrt((error**2).sum(-1).mean(-1))
    rpe = np.sqrt((np.diff(error, axis=-2) ** 2).sum(-1).mean(-1))
    return ate, rpe


def angle_between(one: float, other: float) -> float:
    """|one − other| of two angles, on the circle: 0..π."""
    return float(abs(np.arctan2(np.sin(one - other), np.cos(one - other))))
