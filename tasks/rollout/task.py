"""What `rollout` and its mini variant have in common: one drive of every script, kept frame by
frame."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval import stats
from unimm_eval.api import (
    Context,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    Task,
    TaskConfig,
)
from unimm_eval.api.actions import command_text
from unimm_eval.tasks.drawing import GENERATION, DrawingConfig
from unimm_eval.tasks.rollout.commands import there_and_back
from unimm_eval.tasks.rollout.driving import drive

KEYS = ("W", "A", "S", "D")
RETURNS = ("W", "S")
"""Keys that are driven there, the other one of them back."""


class RolloutConfig(DrawingConfig):
    """What is driven, and (from DrawingConfig) how frames are made of noise."""

    steps_away: int = Field(2, ge=1, description="steps there, and as many back")
    remember: int = Field(
        4, ge=1, description="actions that are remembered before a context is opened on the last"
    )


class RolloutTask(Task):
    """Frames that keys and sentences lead to, each once from the context; drives there and back.

    The inputs of a sample may hold a `fault`, why there is nothing to drive from. Media of an
    output: `key_W` …, `word_0` …, and `W_0` … `W_{2n-1}` of the drive that begins with W.
    """

    Config: ClassVar[type[TaskConfig]] = RolloutConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path", "index"}) | GENERATION
    config: RolloutConfig
    words: ClassVar[tuple[str, ...]] = ()
    """Sentences that are tried besides the keys."""

    @abstractmethod
    def context(self, sample: Sample) -> Sequence[np.ndarray]:
        """Four frames, uint8 [height, width, 3], as the model sees them. Raises PictureError."""

    def generation(self) -> Mapping[str, Any]:
        return self.config.model_dump(include=set(GENERATION) | {"steps_away", "remember"})

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """All keys and sentences in one batch, both drives in another."""
        for item in items:
            ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
            try:
                if fault := item.sample.inputs.get("fault"):
                    raise PictureError(fault)
                context = self.context(item.sample)
            except PictureError as error:
                yield Output(**ids, error=error.what)
                continue
            rng = ctx.rng(item, "noise")
            single = {f"key_{key}": command_text(key) for key in KEYS}
            single |= {f"word_{number}": words for number, words in enumerate(self.words)}
            one = self._drive(model, context, [[text] for text in single.values()], rng)
            media = dict(zip(single, one[:, 0], strict=True))
            scripts = [there_and_back(key, self.config.steps_away) for key in RETURNS]
            for key, frames in zip(RETURNS, self._drive(model, context, scripts, rng), strict=True):
                media |= {f"{key}_{number}": frame for number, frame in enumerate(frames)}
            pictures = {name: Picture(array=frame) for name, frame in media.items()}
            yield Output(**ids, media=pictures)

    def _drive(
        self,
        model: Any,
        context: Sequence[np.ndarray],
        scripts: Sequence[Sequence[str]],
        rng: np.random.Generator,
    ) -> np.ndarray:
        return drive(
            model,
            context,
            scripts,
            seeds=rng.integers(0, 2**63 - 1, size=len(scripts)).tolist(),
            remember=self.config.remember,
            denoising=self.config.model_dump(include=set(GENERATION)),
        )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """A sample without frames is unscored; no model is asked."""
        for sample, output in zip(samples, outputs, strict=True):
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
                continue
            try:
                frames = {name: picture.load() for name, picture in output.media.items()}
                context = self.context(sample)
            except PictureError as error:
                yield Score(**ids, unscored=error.what)
            else:
                yield Score(**ids, values=self.measured(sample, context, frames))

    @abstractmethod
    def measured(
        self, sample: Sample, context: Sequence[np.ndarray], frames: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Numbers of a sample by name; of the metric `m`, also `m:KEY` for each of several that it
        is the mean of, and `chance:m`."""

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """The mean of every metric of the card, clustered."""
        pairs = [pair for pair in zip(samples, scores, strict=True) if pair[1].unscored is None]
        unscored = len(scores) - len(pairs)
        metrics = []
        for name in self.card.metrics if pairs else ():
            rows = [
                (value, sample.cluster)
                for sample, score in pairs
                for key, value in score.values.items()
                if key == name or key.startswith(f"{name}:")
            ]
            values, clusters = zip(*rows, strict=True)
            by_chance = [score.values.get(f"chance:{name}") for _, score in pairs]
            known = [value for value in by_chance if value is not None]
            metrics.append(
                stats.clustered_mean(values, clusters).metric(
                    name, unscored=unscored, chance=float(np.mean(known)) if known else None
                )
            )
        return metrics
