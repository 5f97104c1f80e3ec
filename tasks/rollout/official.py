"""`rollout`: driving on from recorded frames, of NWM's folders or anybody's in their format."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    Exhibit,
    Output,
    Picture,
    Sample,
    Score,
    TaskConfig,
    make_samples,
    stable_hash,
)
from unimm_eval.judges.frame_quality import qualities
from unimm_eval.tasks.recordings import (
    CONTEXT,
    content_of,
    context_of,
    fault_of,
    instances_of,
    root_of,
    trajectory_at,
)
from unimm_eval.tasks.rollout.film import Row, sheet
from unimm_eval.tasks.rollout.task import KEYS, RETURNS, RolloutConfig, RolloutTask
from unimm_eval.world.nwm_pictures import SIZE, shown


class RolloutOfRecordingsConfig(RolloutConfig):
    path: Path | None = Field(None, description="folder of trajectories in NWM's format")
    index: Path | None = Field(None, description="NWM's rollout.pkl, or the same as JSON")
    steps_away: int = Field(4, ge=1, description="steps there, and as many back")
    remember: int = Field(
        1, ge=1, description="actions that are remembered before a context is opened on the last"
    )
    size: int = Field(SIZE, ge=32, le=1024, description="pixels a side of what the model is shown")


class Rollout(RolloutTask):
    """Whether going there and back ends where it began, and whether keys do different things: what
    can be known of places without a truth."""

    Config: ClassVar[type[TaskConfig]] = RolloutOfRecordingsConfig
    config: RolloutOfRecordingsConfig

    def check(self) -> None:
        """Raises UserError when there is nothing to drive from."""
        _ = self._samples

    @property
    def _root(self) -> Path:
        return root_of(self.config.path, task="rollout")

    def data_identity(self) -> str:
        return stable_hash([sample.id for sample in self._samples])

    def samples(self) -> Iterator[Sample]:
        """One an instance; the trajectory is the cluster."""
        return iter(self._samples)

    @cached_property
    def _samples(self) -> list[Sample]:
        root = self._root
        rows = []
        for instance in instances_of(root, self.config.index, ahead=0):
            inputs: dict[str, Any] = {"trajectory": instance.trajectory, "frame": instance.frame}
            if fault := fault_of(root, instance, frames=CONTEXT):
                inputs["fault"] = fault
            else:
                frames = [instance.frame + i for i in CONTEXT]
                inputs["content"] = content_of(trajectory_at(root, instance.trajectory), frames)
            rows.append((inputs, instance.trajectory))
        return list(make_samples(rows))

    def context(self, sample: Sample) -> Sequence[np.ndarray]:
        trajectory = trajectory_at(self._root, sample.inputs["trajectory"])
        return context_of(trajectory, sample.inputs["frame"], size=self.config.size)

    def measured(
        self, sample: Sample, context: Sequence[np.ndarray], frames: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        now = context[-1]
        seen = {name: shown(frame, size=now.shape[0]) for name, frame in frames.items()}
        away = self.config.steps_away
        values = {"chance:back_gain": 0.0, "chance:keys_apart": 0.0}
        for key in RETURNS:
            far, back = seen[f"{key}_{away - 1}"], seen[f"{key}_{2 * away - 1}"]
            (at_back, at_far), (ssim, _) = qualities([back, far], [now, now])
            values |= {
                f"back_gain:{key}": at_back - at_far,
                f"back_psnr:{key}": at_back,
                f"back_ssim:{key}": ssim,
            }
        pairs = list(combinations([seen[f"key_{key}"] for key in KEYS], 2))
        _, alike = qualities([one for one, _ in pairs], [other for _, other in pairs])
        return {**values, "keys_apart": 1 - float(np.mean(alike))}

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        pictures = {}
        if score.unscored is None:
            pictures = {"drives": Picture(array=self._page(self.context(sample)[-1], output))}
        return Exhibit(
            group="drives",
            prompt=f"{inputs['trajectory']}, frame {inputs['frame']}",
            note=score.unscored or "",
            shown=pictures,
            facts={name: value for name, value in score.values.items() if "chance" not in name},
        )

    def _page(self, now: np.ndarray, output: Output) -> np.ndarray:
        """Each key once, and both drives, all from the same context."""
        rows = [
            Row(
                title="each key",
                frames=[now, *(output.media[f"key_{key}"].load() for key in KEYS)],
                captions=["now", *KEYS],
            )
        ]
        away = self.config.steps_away
        for key, back in zip(RETURNS, RETURNS[::-1], strict=True):
            names = [f"{key}_{number}" for number in range(2 * away)]
            rows.append(
                Row(
                    title=f"{key} and back",
                    frames=[now, *(output.media[name].load() for name in names)],
                    captions=["now", *[key] * away, *[back] * away],
                )
            )
        return sheet(rows)
