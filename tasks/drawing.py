"""What tasks share that ask a model for pictures of prompts."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    Context,
    ImageRequest,
    Item,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    Solver,
    Task,
    TaskConfig,
)


class DrawingConfig(TaskConfig):
    """How pictures are drawn."""

    num_inference_steps: int = Field(25, ge=1, description="solver steps of each picture")
    guidance_scale: float = Field(3.0, ge=1, description="classifier-free guidance; 1 is none")
    solver: Solver = Field("euler", description="euler, or heun, which asks twice a step")


GENERATION = frozenset(DrawingConfig.model_fields) - frozenset(TaskConfig.model_fields)
"""Names of the settings that pictures depend on."""


class DrawingTask(Task):
    """A task whose outputs are pictures of prompts. The inputs of a sample hold `prompt` and `key`,
    the benchmark's own name of it."""

    Config: ClassVar[type[TaskConfig]] = DrawingConfig
    config: DrawingConfig

    def generation(self) -> Mapping[str, Any]:
        return self.config.model_dump(include=set(GENERATION))

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """One picture an item."""
        settings = self.config.model_dump(include=set(GENERATION))
        requests = [
            ImageRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                prompt=prompt,
                key=key,
                **settings,
            )
            for item in items
            for prompt, key in [self.prompt_and_key(item.sample)]
        ]
        for item, array in zip(items, model.generate_images(requests), strict=True):
            yield Output(
                sample_id=item.sample.id,
                repeat=item.repeat,
                media={"picture": Picture(array=array)},
            )

    def prompt_and_key(self, sample: Sample) -> tuple[str, str]:
        """What is asked for, and the name under which `images:` looks for it."""
        return sample.inputs["prompt"], sample.inputs["key"]


class PictureScoringTask(DrawingTask):
    """A drawing task that scores each picture by itself, without asking a model."""

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """A picture that is not there or cannot be read is unscored."""
        for sample, output in zip(samples, outputs, strict=True):
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
                continue
            try:
                picture = output.media["picture"].load()
            except PictureError as error:
                yield Score(**ids, unscored=error.what)
            else:
                yield Score(**ids, **self.score(sample, picture))

    @abstractmethod
    def score(self, sample: Sample, picture: np.ndarray) -> dict[str, Any]:
        """`values`, `payload` and `arrays` of the score of a uint8 [H, W, 3] picture."""
