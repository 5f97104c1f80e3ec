"""What `prediction` and its mini variant have in common: frames seconds ahead, against the true
ones."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from unimm_eval import stats
from unimm_eval.api import (
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    SampleError,
    Score,
    Task,
    TaskConfig,
)
from unimm_eval.judges.frame_quality import qualities
from unimm_eval.tasks.drawing import GENERATION, DrawingConfig
from unimm_eval.tasks.recordings import CONTEXT, context_of, frames_of, motion_texts
from unimm_eval.tasks.rollout.driving import drive
from unimm_eval.tasks.rollout.film import Row, sheet
from unimm_eval.world.nwm_datasets import FRAMES_PER_SECOND
from unimm_eval.world.nwm_folder import Trajectory
from unimm_eval.world.nwm_pictures import SIZE, shown

JUMP = "time"


class PredictionConfig(DrawingConfig):
    """What is predicted, and (from DrawingConfig) how frames are made of noise."""

    horizons: tuple[int, ...] = Field(
        (1, 2, 4, 8, 16), min_length=1, description="seconds ahead that are looked at"
    )
    rates: tuple[int, ...] = Field((1, 4), description="frames a second of rollouts: 1, 2 or 4")
    remember: int = Field(
        1, ge=1, description="actions that are remembered before a context is opened on the last"
    )
    size: int = Field(SIZE, ge=32, le=1024, description="pixels a side of what the model is shown")

    @field_validator("horizons", "rates")
    @classmethod
    def _rising(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)) or (value and value[0] < 1):
            raise ValueError("must rise, from 1 on")
        return value

    @field_validator("rates")
    @classmethod
    def _divide(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(FRAMES_PER_SECOND % rate for rate in value):
            raise ValueError(f"must divide the {FRAMES_PER_SECOND} frames a second of recordings")
        return value


class PredictionTask(Task):
    """Frames at every horizon: by one jump each (`time`), and by rollouts.

    The inputs of a sample hold `trajectory`, `frame` (of the last context picture), `mode` (`time`
    or `1fps`, `4fps`) and `actions`: a text a horizon, or a text a frame of the rollout; or a
    `fault`, why nothing can be predicted. Media of an output: `1s`, `2s`, … A metric is
    `MEASURE_MODE_HORIZON`.
    """

    Config: ClassVar[type[TaskConfig]] = PredictionConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit"}) | GENERATION
    config: PredictionConfig

    @abstractmethod
    def trajectory(self, name: str) -> Trajectory:
        """Raises SampleError."""

    @property
    def modes(self) -> tuple[str, ...]:
        return (JUMP, *(f"{rate}fps" for rate in self.config.rates))

    @property
    def ahead(self) -> list[int]:
        """Frames from the last of the context to each horizon."""
        return [seconds * FRAMES_PER_SECOND for seconds in self.config.horizons]

    def generation(self) -> Mapping[str, Any]:
        wanted = set(GENERATION) | {"remember", "size", "horizons"}
        return self.config.model_dump(mode="json", include=wanted)

    def actions(
        self, trajectory: Trajectory, frame: int, mode: str, *, spacing: float
    ) -> list[str]:
        """What a model is told under `mode`, each motion seen from the frame before it."""
        if mode == JUMP:
            ends = [frame + ahead for ahead in self.ahead]
            return [motion_texts(trajectory, (frame, end), spacing=spacing)[0] for end in ends]
        stride = FRAMES_PER_SECOND // _rate(mode)
        frames = range(frame, frame + self.ahead[-1] + 1, stride)
        return motion_texts(trajectory, frames, spacing=spacing)

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """All jumps of an instance are one batch; a rollout is predicted frame by frame."""
        for item in items:
            ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
            inputs = item.sample.inputs
            try:
                if fault := inputs.get("fault"):
                    raise PictureError(fault)
                trajectory = self.trajectory(inputs["trajectory"])
                context = context_of(trajectory, inputs["frame"], size=self.config.size)
            except SampleError as error:
                yield Output(**ids, error=error.what)
                continue
            jump = inputs["mode"] == JUMP
            actions = inputs["actions"]
            scripts = [[text] for text in actions] if jump else [actions]
            frames = drive(
                model,
                context,
                scripts,
                seeds=ctx.rng(item, "noise").integers(0, 2**63 - 1, size=len(scripts)).tolist(),
                remember=self.config.remember,
                denoising=self.config.model_dump(include=set(GENERATION)),
            )
            kept = frames[:, 0] if jump else frames[0, self._places(inputs["mode"])]
            media = {
                f"{s}s": Picture(array=f) for s, f in zip(self.config.horizons, kept, strict=True)
            }
            yield Output(**ids, media=media)

    def _places(self, mode: str) -> list[int]:
        """Of the horizons' frames in a rollout."""
        return [seconds * _rate(mode) - 1 for seconds in self.config.horizons]

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Each horizon's frame against the true one, at the size that the model is shown."""
        for sample, output in zip(samples, outputs, strict=True):
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
                continue
            try:
                seen, truth, now = self._frames(sample, output)
            except SampleError as error:
                yield Score(**ids, unscored=error.what)
            else:
                yield Score(**ids, **self.measured(seen, truth, now))

    def measured(
        self, seen: list[np.ndarray], truth: list[np.ndarray], now: np.ndarray
    ) -> dict[str, Any]:
        """Values (`psnr_1s` …, and `still:psnr_1s` of showing the last frame of the context again)
        and arrays of a score, for one frame a horizon."""
        values: dict[str, float] = {}
        for prefix, frames in (("", seen), ("still:", [now] * len(truth))):
            for measure, found in zip(("psnr", "ssim"), qualities(frames, truth), strict=True):
                values |= self.by_horizon(f"{prefix}{measure}", found)
        return {"values": values}

    def by_horizon(self, measure: str, found: Sequence[float]) -> dict[str, float]:
        pairs = zip(self.config.horizons, found, strict=True)
        return {f"{measure}_{seconds}s": value for seconds, value in pairs}

    def _frames(
        self, sample: Sample, output: Output
    ) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """Predicted and true frames, and the last of the context. Raises SampleError."""
        size, frame = self.config.size, sample.inputs["frame"]
        trajectory = self.trajectory(sample.inputs["trajectory"])
        truth = frames_of(trajectory, [frame + ahead for ahead in self.ahead], size=size)
        (now,) = frames_of(trajectory, [frame], size=size)
        names = [f"{seconds}s" for seconds in self.config.horizons]
        return [shown(output.media[name].load(), size=size) for name in names], truth, now

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Means over instances, errors clustered by trajectory; chance is what the last frame of
        the context gets, shown again."""
        pairs = list(zip(samples, scores, strict=True))
        found = (self.metric(name, pairs) for name in self.card.metrics)
        return [metric for metric in found if metric is not None]

    def metric(self, name: str, pairs: Sequence[tuple[Sample, Score]]) -> Metric | None:
        """None where nothing was measured."""
        measure, mode, horizon = name.split("_")
        mine = [pair for pair in pairs if pair[0].inputs["mode"] == mode]
        key = f"{measure}_{horizon}"
        rows = [(sample, score.values) for sample, score in mine if key in score.values]
        if not rows:
            return None
        estimate = stats.clustered_mean(
            [values[key] for _, values in rows], [sample.cluster for sample, _ in rows]
        )
        still = [values[f"still:{key}"] for _, values in rows]
        return estimate.metric(
            name,
            unscored=len(mine) - len(rows),
            chance=float(np.mean(still)),
            facts=self.facts(measure),
        )

    def facts(self, measure: str) -> Mapping[str, Any]:
        """What a reader has to know of a measure."""
        return {}

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        pictures = {}
        if score.unscored is None:
            pictures = {"frames": Picture(array=self._page(sample, output))}
        return Exhibit(
            group=inputs["mode"],
            prompt=f"{inputs['trajectory']}, frame {inputs['frame']}",
            note=score.unscored or "",
            shown=pictures,
            facts={name: value for name, value in score.values.items() if ":" not in name},
        )

    def _page(self, sample: Sample, output: Output) -> np.ndarray:
        seen, truth, now = self._frames(sample, output)
        captions = ["now", *(f"{seconds} s" for seconds in self.config.horizons)]
        return sheet(
            [
                Row(title="predicted", frames=[now, *seen], captions=captions),
                Row(title="true", frames=[None, *truth], captions=captions),
            ]
        )


def needed(ahead: Sequence[int]) -> list[int]:
    """Frames that an instance shows, counted from its own."""
    return [*CONTEXT, *ahead]


def _rate(mode: str) -> int:
    return int(mode.removesuffix("fps"))
