"""What NWM's data sets have in numbers: how long a waypoint is, and where its planner begins.

Sources, all in facebookresearch/nwm: the waypoint spacing (mean metres between two frames at 4 Hz)
and the bounds of the normalised space from `config/data_config.yaml`, priors from
`config/data_hyperparams_plan.yaml` (where `var_scale` is used as a standard deviation), numbers of
trajectories from `data_splits`. Those of the world's rooms were measured on 400 paths of its
training split: `tests/world/test_nwm_data.py` measures them again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from unimm_eval.api import UserError
from unimm_eval.world.rooms import WAYPOINT

FRAMES_PER_SECOND = 4
ACTION_LOW, ACTION_HIGH = (-2.5, -4.0), (5.0, 4.0)
"""Steps (dx, dy) in waypoint units that −1 and 1 of the normalised space stand for, everywhere."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """`spacing` is metres a waypoint; `prior_mean` and `prior_std` are of the planner's (dx, dy,
    phi): a step in the normalised space, the same for all waypoints, and the last turn in half
    circles. `trajectories` counts those of training and test."""

    spacing: float
    prior_mean: tuple[float, float, float] | None
    prior_std: tuple[float, float, float] | None
    trajectories: tuple[int, int] | None


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "recon": Dataset(
            spacing=0.25,
            prior_mean=(-0.1, 0.0, 0.0),
            prior_std=(0.02, 0.1, 0.1),
            trajectories=(9468, 2367),
        ),
        "scand": Dataset(
            spacing=0.38,
            prior_mean=(-0.25, 0.0, 0.0),
            prior_std=(0.04, 0.1, 0.1),
            trajectories=(484, 121),
        ),
        "tartan_drive": Dataset(
            spacing=0.72,
            prior_mean=(0.5, 0.0, 0.0),
            prior_std=(0.07, 0.1, 0.1),
            trajectories=(1000, 251),
        ),
        "sacson": Dataset(
            spacing=0.255,
            prior_mean=(-0.33, 0.0, 0.0),
            prior_std=(0.03, 0.1, 0.1),
            trajectories=(2451, 613),
        ),
        "go_stanford": Dataset(spacing=0.12, prior_mean=None, prior_std=None, trajectories=None),
        "rooms": Dataset(
            spacing=WAYPOINT,
            prior_mean=(-0.125, 0.0, 0.0),
            prior_std=(0.11, 0.087, 0.17),
            trajectories=None,
        ),
    }
)
"""HuRoN is `sacson` in NWM's files. NWM plans on none of go_stanford."""


def dataset(name: str) -> Dataset:
    """Raises UserError that lists the names there are."""
    if name not in DATASETS:
        raise UserError(
            f"no data set {name!r}; there are {', '.join(DATASETS)}",
            fix="HuRoN is sacson, TartanDrive is tartan_drive.",
        )
    return DATASETS[name]
