"""`prediction`: seconds ahead in recordings, of NWM's folders or anybody's in their format."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval import data
from unimm_eval.api import (
    Metric,
    Output,
    Sample,
    Score,
    TaskConfig,
    UserError,
    make_samples,
    stable_hash,
)
from unimm_eval.judges.dreamsim_distance import DreamSimDistance
from unimm_eval.judges.inception import Inception
from unimm_eval.judges.lpips_distance import LpipsDistance
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.fid.frechet import statistics_of
from unimm_eval.tasks.fid.summary import FEATURES, distance_metric
from unimm_eval.tasks.prediction.measures import DEFINITION, DREAMSIM, FID, LPIPS, Network, networks
from unimm_eval.tasks.prediction.task import JUMP, PredictionConfig, PredictionTask, needed
from unimm_eval.tasks.recordings import (
    content_of,
    fault_of,
    instances_of,
    root_of,
    trajectory_at,
)
from unimm_eval.world.nwm_datasets import dataset
from unimm_eval.world.nwm_folder import Trajectory

_TRUTH = "truth"


class PredictionOfRecordingsConfig(PredictionConfig):
    path: Path | None = Field(None, description="folder of trajectories in NWM's format")
    dataset: str = Field("recon", description="whose waypoints are meant: recon, scand, …, rooms")
    time_index: Path | None = Field(
        None, description="instances of jumps: NWM's time.pkl, or the same as JSON"
    )
    rollout_index: Path | None = Field(
        None, description="instances of rollouts: NWM's rollout.pkl, or the same as JSON"
    )
    bootstrap_resamples: int = Field(100, ge=2, description="draws behind the interval of an FID")
    judge_device: str = Field("auto", description="where the networks run")


class Prediction(PredictionTask):
    """LPIPS, PSNR, SSIM, DreamSim and FID of predicted frames."""

    Config: ClassVar[type[TaskConfig]] = PredictionOfRecordingsConfig
    unpinned: ClassVar[frozenset[str]] = PredictionTask.unpinned | {
        "path",
        "time_index",
        "rollout_index",
        "bootstrap_resamples",
        "judge_device",
    }
    config: PredictionOfRecordingsConfig
    _loaded: "_Loaded"

    def check(self) -> None:
        """Raises one UserError for all that is missing: recordings, weights, a data set's name."""
        problems: list[UserError] = []
        for step in (lambda: self._samples, lambda: self._networks):
            try:
                step()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )

    @cached_property
    def _networks(self) -> dict[str, Network]:
        return networks({file.name: file for file in data.files_of(self.card)}, self.data_dir)

    @property
    def _root(self) -> Path:
        return root_of(self.config.path, task="prediction")

    def judge_identity(self) -> str:
        present = [network.told for network in self._networks.values() if network.path is not None]
        return ", ".join([super().judge_identity(), *present])

    def data_identity(self) -> str:
        return stable_hash([sample.id for sample in self._samples])

    def samples(self) -> Iterator[Sample]:
        """Jumps of the one index, then rollouts of the other at each rate; the trajectory is the
        cluster."""
        return iter(self._samples)

    @cached_property
    def _samples(self) -> list[Sample]:
        spacing = dataset(self.config.dataset).spacing
        return list(make_samples(self._rows(self._root, spacing)))

    def _rows(self, root: Path, spacing: float) -> Iterator[tuple[dict[str, Any], str]]:
        farthest = self.ahead[-1]
        for mode in self.modes:
            index = self.config.time_index if mode == JUMP else self.config.rollout_index
            for instance in instances_of(root, index, ahead=farthest):
                name, frame = instance.trajectory, instance.frame
                inputs: dict[str, Any] = {"trajectory": name, "frame": frame, "mode": mode}
                shown, passed = needed(self.ahead), range(farthest + 1)
                if fault := fault_of(root, instance, frames=shown, poses=passed):
                    inputs["fault"] = fault
                else:
                    trajectory = trajectory_at(root, name)
                    inputs |= {
                        "content": content_of(trajectory, [frame + i for i in shown]),
                        "actions": self.actions(trajectory, frame, mode, spacing=spacing),
                    }
                yield inputs, name

    def trajectory(self, name: str) -> Trajectory:
        return trajectory_at(self._root, name)

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """The networks are there only as long as this runs."""
        device = resolve_device(self.config.judge_device)
        paths = {name: network.path for name, network in self._networks.items()}
        lpips, dreamsim, inception = paths[LPIPS], paths[DREAMSIM], paths[FID]
        assert lpips is not None
        self._loaded = _Loaded(
            lpips=LpipsDistance(lpips, device=device),
            dreamsim=DreamSimDistance(dreamsim, device=device) if dreamsim else None,
            inception=Inception(DEFINITION, inception, device=device, batch_size=8)
            if inception
            else None,
        )
        try:
            yield from super().judge(samples, outputs)
        finally:
            del self._loaded

    def measured(
        self, seen: list[np.ndarray], truth: list[np.ndarray], now: np.ndarray
    ) -> dict[str, Any]:
        """With LPIPS and DreamSim, and the features of predicted and true frames."""
        values = super().measured(seen, truth, now)["values"]
        arrays: dict[str, np.ndarray] = {}
        loaded = self._loaded
        for prefix, frames in (("", seen), ("still:", [now] * len(truth))):
            values |= self.by_horizon(f"{prefix}{LPIPS}", loaded.lpips_of(frames, truth))
            if loaded.dreamsim is not None:
                found = loaded.dreamsim.between(frames, truth)
                values |= self.by_horizon(f"{prefix}{DREAMSIM}", found)
        if loaded.inception is not None:
            for name, frames in ((FEATURES, seen), (_TRUTH, truth)):
                rows = loaded.inception.features(frames)
                pairs = zip(self.config.horizons, rows, strict=True)
                arrays |= {f"{name}_{seconds}s": row for seconds, row in pairs}
        return {"values": values, "arrays": arrays}

    def metric(self, name: str, pairs: Sequence[tuple[Sample, Score]]) -> Metric | None:
        measure, mode, horizon = name.split("_")
        if measure != FID:
            return super().metric(name, pairs)
        mine = [pair for pair in pairs if pair[0].inputs["mode"] == mode]
        key = f"{FEATURES}_{horizon}"
        kept = [score for _, score in mine if key in score.arrays]
        if not kept:
            return None
        reference = statistics_of(score.arrays[f"{_TRUTH}_{horizon}"] for score in kept)
        return distance_metric(
            name,
            [sample for sample, _ in mine],
            [_of_horizon(score, key) for _, score in mine],
            reference,
            resamples=self.config.bootstrap_resamples,
            facts=self.facts(FID),
        )

    def facts(self, measure: str) -> Mapping[str, Any]:
        """Which network, and beside the headline those that are absent."""
        told = {name: network.told for name, network in self._networks.items()}
        if measure == LPIPS:
            return told
        return {measure: told[measure]} if measure in told else {}


def _of_horizon(score: Score, key: str) -> Score:
    """The score with the features of one horizon alone."""
    if score.unscored is not None:
        return score
    return replace(score, arrays={FEATURES: score.arrays[key]})


class _Loaded:
    def __init__(
        self,
        *,
        lpips: LpipsDistance,
        dreamsim: DreamSimDistance | None,
        inception: Inception | None,
    ) -> None:
        self._lpips, self.dreamsim, self.inception = lpips, dreamsim, inception

    def lpips_of(self, frames: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> list[float]:
        pairs = zip(frames, truths, strict=True)
        return [self._lpips.to_one([frame], truth, batch_size=1)[0] for frame, truth in pairs]
