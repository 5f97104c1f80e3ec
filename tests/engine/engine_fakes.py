"""A model and tasks without a network inside, for tests of the engine.

What the model says depends on the other requests of its batch, so that a run whose batches are not
the planned ones has other numbers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from unimm_eval.api import (
    Card,
    ChatRequest,
    Context,
    ImageRequest,
    Item,
    Metric,
    MetricSpec,
    Output,
    Picture,
    Request,
    Sample,
    Score,
    Task,
    TaskConfig,
    make_samples,
    stable_hash,
)


class FakeModel:
    """Draws noise and says numbers; counts what it is asked."""

    def __init__(self, name: str = "fake", fingerprint: str = "f00d") -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.batches: list[tuple[str, ...]] = []

    def describe(self) -> Mapping[str, Any]:
        return {"parameters": 0}

    def generate_text(self, requests: Sequence[ChatRequest]) -> list[str]:
        batch = self._seen(requests)
        return [str(stable_hash([batch, request.seed])) for request in requests]

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[np.ndarray]:
        batch = self._seen(requests)
        return [
            np.random.default_rng([request.seed, int(batch, 16)]).integers(
                0, 256, (8, 8, 3), dtype=np.uint8
            )
            for request in requests
        ]

    def _seen(self, requests: Sequence[Request]) -> str:
        self.batches.append(tuple(f"{request.sample_id}/{request.repeat}" for request in requests))
        return stable_hash(self.batches[-1])


def fake_card(name: str, task_class: str, requires: tuple[str, ...] = ()) -> Card:
    return Card(
        name=name,
        task_class=task_class,
        title=f"fake {name}",
        protocol="fake",
        version=1,
        mini=True,
        requires=requires,
        metrics={
            "mean": MetricSpec(direction="higher", description="mean of the values"),
            "spread": MetricSpec(direction="lower", range=(0, None)),
        },
    )


class FakeTask(Task):
    """Shared parts: `size` samples of which the last is equal to the first."""

    size: ClassVar[int] = 10
    repeats: ClassVar[int] = 1
    capability: ClassVar[str] = ""

    def __init__(self, name: str, *, config: TaskConfig | None = None) -> None:
        requires = (self.capability,) if self.capability else ()
        card = fake_card(name, type(self).__name__, requires)
        super().__init__(card, config or self.Config(), data_dir=Path())

    def samples(self) -> Iterable[Sample]:
        rows = [
            ({"number": number % (self.size - 1)}, f"c{number % 4}") for number in range(self.size)
        ]
        return make_samples(rows, repeats=self.repeats)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        scored = [score.values["value"] for score in scores if score.unscored is None]
        unscored = len(scores) - len(scored)
        return [
            Metric(name="mean", value=float(np.mean(scored)), n=len(scored), unscored=unscored),
            Metric(name="spread", value=float(np.std(scored)), n=len(scored), unscored=unscored),
        ]


class Say(FakeTask):
    """Texts, scored one by one."""

    capability = "GeneratesText"

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        requests = [
            ChatRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                parts=(str(item.sample.inputs["number"]),),
            )
            for item in items
        ]
        answers = model.generate_text(requests)
        for item, answer in reversed(list(zip(items, answers, strict=True))):
            yield Output(sample_id=item.sample.id, repeat=item.repeat, values={"answer": answer})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        for output in outputs:
            yield Score(
                sample_id=output.sample_id,
                repeat=output.repeat,
                values={"value": int(output.values["answer"][:4], 16) / 0xFFFF},
                payload={"answer": output.values["answer"]},
            )


class Draw(FakeTask):
    """Two pictures a sample, scored one by one."""

    capability = "GeneratesImages"
    repeats = 2

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        requests = [
            ImageRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                prompt=str(item.sample.inputs["number"]),
                key=item.sample.id,
                guidance_scale=3.0,
                num_inference_steps=4,
            )
            for item in items
        ]
        for item, array in zip(items, model.generate_images(requests), strict=True):
            yield Output(
                sample_id=item.sample.id,
                repeat=item.repeat,
                media={"picture": Picture(array=array)},
            )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        for output in outputs:
            value = float(output.media["picture"].load().mean() / 255)
            yield Score(sample_id=output.sample_id, repeat=output.repeat, values={"value": value})


class DrawSet(Draw):
    """Pictures scored all at once: each by its distance from the mean picture."""

    scope = "set"

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        pictures = np.stack([output.media["picture"].load() for output in outputs]).astype(float)
        distances = np.abs(pictures - pictures.mean(0)).mean((1, 2, 3))
        for output, distance in zip(outputs, distances, strict=True):
            yield Score(
                sample_id=output.sample_id,
                repeat=output.repeat,
                values={"value": float(distance)},
            )
