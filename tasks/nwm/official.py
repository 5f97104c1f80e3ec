"""`nwm`: planning to a goal two seconds ahead on NWM's robot recordings."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from unimm_eval import data
from unimm_eval.api import TaskConfig, UserError, stable_hash
from unimm_eval.judges import lpips_distance
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.nwm.cem import Prior, prior_of
from unimm_eval.tasks.nwm.distances import GoalDistance, LpipsGoalDistance
from unimm_eval.tasks.nwm.recorded import RecordedPlanning
from unimm_eval.tasks.nwm.task import PlanningConfig, PlanningTask
from unimm_eval.tasks.recordings import instances_of, root_of
from unimm_eval.world import nwm_datasets
from unimm_eval.world.nwm_index import Instance, read_index
from unimm_eval.world.nwm_pictures import SIZE

INDEX = "nwm/{dataset}/navigation_eval.pkl"


class NwmConfig(PlanningConfig):
    path: Path | None = Field(None, description="folder of trajectories in NWM's format")
    dataset: Literal["recon", "scand", "tartan_drive", "sacson", "rooms"] = Field(
        "recon", description="whose waypoints, prior and index; sacson is HuRoN"
    )
    index: Path | None = Field(
        None,
        description="instances in place of NWM's: its format, or the same as JSON; of rooms, where "
        "there is none of NWM's, every 16 frames of every trajectory",
    )


class Nwm(RecordedPlanning):
    """NWM's planning evaluation: ATE and RPE of paths found by the Cross-Entropy Method."""

    Config: ClassVar[type[TaskConfig]] = NwmConfig
    unpinned: ClassVar[frozenset[str]] = PlanningTask.unpinned | {"path", "index"}
    config: NwmConfig

    def check(self) -> None:
        """Raises one UserError for all that is missing: recordings, index, weights."""
        problems: list[UserError] = []
        for step in (lambda: self._samples, lambda: self._weights):
            try:
                step()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )

    @property
    def root(self) -> Path:
        return root_of(self.config.path, task="nwm")

    @cached_property
    def instances(self) -> Sequence[Instance]:
        index, horizon = self.config.index, self.config.horizon
        root = self.root
        if index is None and self.config.dataset != "rooms":
            file = self._files[INDEX.format(dataset=self.config.dataset)]
            return read_index(data.verify(file, self.data_dir, task="nwm"))
        return instances_of(root, index, ahead=horizon)

    @cached_property
    def _files(self) -> dict[str, data.DataFile]:
        return {file.name: file for file in data.files_of(self.card)}

    @cached_property
    def _weights(self) -> Path:
        return data.verify(self._files[lpips_distance.FILE], self.data_dir, task="nwm")

    @property
    def spacing(self) -> float:
        return nwm_datasets.dataset(self.config.dataset).spacing

    @property
    def prior(self) -> Prior:
        return prior_of(self.config.dataset)

    @property
    def view_size(self) -> int:
        return SIZE

    @property
    def says_content(self) -> bool:
        return True

    def data_identity(self) -> str:
        return stable_hash([sample.id for sample in self._samples])

    @cached_property
    def distance_label(self) -> str:
        return f"{lpips_distance.LABEL} {data.sha256_file(self._weights)[:16]}"

    def open_distance(self, device: str) -> GoalDistance:
        return LpipsGoalDistance(self._weights, device=resolve_device(device))
