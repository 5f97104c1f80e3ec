"""Probes of the layers of encoder and backbone: what `probes` and its mini share."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    ArrayRow,
    Context,
    Exhibit,
    HasTwin,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    PictureFeatures,
    Sample,
    Score,
    Task,
    TaskConfig,
)
from unimm_eval.tasks.probes.classifiers import Recipe
from unimm_eval.tasks.probes.decoders import patches_of
from unimm_eval.tasks.probes.probing import PIXELS, probe, tokens_of
from unimm_eval.tasks.probes.stacks import packed
from unimm_eval.tasks.probes.summary import metrics_of
from unimm_eval.tasks.probes.tables import exports_of

_TOKENS_AT_ONCE = 4
"""Pictures whose tokens are held at once, of all layers."""


class ProbesConfig(TaskConfig):
    twin: bool = Field(False, description="probe the untrained twin too, where the model has one")
    decoder_pictures: int = Field(
        256, ge=0, description="pictures of each split whose tokens are decoded; 0: no PSNR"
    )
    learning_rates: tuple[float, ...] = Field(
        (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0),
        min_length=1,
        description="of the classifiers, for features of variance 1 / width",
    )
    penalties: tuple[float, ...] = Field(
        (1.0, 10.0), min_length=1, description="of the classifiers: 1/C of logistic regression"
    )
    epochs: int = Field(10, ge=1, description="how often a classifier sees a training picture")
    least_steps: int = Field(1000, ge=1, description="steps of training where epochs are short")
    probe_batch_size: int = Field(512, ge=1, description="pictures a step of training sees")
    ridges: tuple[float, ...] = Field(
        (1e-8, 1e-6, 1e-4, 1e-2, 1.0),
        min_length=1,
        description="penalties of the decoders, as shares of a feature's variance",
    )


class ProbesTask(Task):
    """Linear probes (paper appendix D.1): classifiers of a picture's mean token, and decoders of
    each token into its patch, for every layer.

    A sample is a picture with labels, its split, and whether its tokens are kept to be decoded; its
    content is its cluster. All layers come from one pass. Probes are trained when the features of
    all pictures are there, and judge those of validation and test.
    """

    Config: ClassVar[type[TaskConfig]] = ProbesConfig
    scope: ClassVar[Literal["sample", "repeats", "set"]] = "set"
    config: ProbesConfig

    @abstractmethod
    def picture_of(self, sample: Sample) -> Picture:
        """The picture of a sample. Raises PictureError."""

    def probe_device(self) -> str:
        """Where probes are trained."""
        return "cpu"

    def generation(self) -> Mapping[str, Any]:
        return {"twin": self.config.twin}

    @property
    def recipe(self) -> Recipe:
        config = self.config
        return Recipe(
            learning_rates=config.learning_rates,
            penalties=config.penalties,
            epochs=config.epochs,
            least_steps=config.least_steps,
            batch_size=config.probe_batch_size,
        )

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        twin: Any = model.twin() if self.config.twin and isinstance(model, HasTwin) else None
        shown: dict[bool, list[tuple[Item, Picture]]] = defaultdict(list)
        for item in items:
            try:
                picture = Picture(array=self.picture_of(item.sample).load())
            except PictureError as error:
                yield Output(sample_id=item.sample.id, repeat=item.repeat, error=error.what)
                continue
            shown[bool(item.sample.inputs.get("decoder"))].append((item, picture))
        for decoder, pairs in shown.items():
            rest = iter(pairs)
            while part := list(islice(rest, _TOKENS_AT_ONCE if decoder else len(pairs))):
                yield from _outputs(model, twin, part, tokens=decoder)

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        payloads = probe(
            samples,
            outputs,
            recipe=self.recipe,
            ridges=self.config.ridges,
            device=self.probe_device(),
        )
        for output, payload in zip(outputs, payloads, strict=True):
            yield Score(sample_id=output.sample_id, repeat=output.repeat, payload=payload)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        return metrics_of(
            samples,
            scores,
            card=self.card,
            candidates=self.recipe.candidates,
        )

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        """Pictures of the test split, with what the backbone's best layer says of them."""
        if sample.inputs["split"] != "test":
            return None
        labels = sample.inputs["labels"]
        answers = {
            target: answer
            for target, answer in score.payload.get("answer", {}).items()
            if target in labels
        }
        psnr = score.payload.get("psnr", {})
        return Exhibit(
            group=", ".join(labels),
            prompt=f"{' and '.join(labels)}?",
            answer=", ".join(answers.values()),
            expected=", ".join(labels.values()),
            correct=answers == dict(labels) if answers else None,
            note=score.unscored or "",
            shown={} if output.error else {"picture": self.picture_of(sample)},
            facts={f"PSNR of {name}'s last layer, dB": values[-1] for name, values in psnr.items()},
        )

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """Every layer in `probes.csv`, and the curves as paper figure 28 has them."""
        kept = [(sample, score) for sample, _, score in rows]
        return exports_of(
            [sample for sample, _ in kept],
            [score for _, score in kept],
            candidates=self.recipe.candidates,
        )


def _outputs(
    model: Any, twin: Any, pairs: Sequence[tuple[Item, Picture]], *, tokens: bool
) -> Iterator[Output]:
    """Means over tokens of every layer, and with `tokens` these and the patches they stand for."""
    pictures = [picture for _, picture in pairs]
    pool = "tokens" if tokens else "mean"
    found: PictureFeatures = model.features(pictures, pool=pool)
    stacks = dict(found.stacks)
    if twin is not None:
        stacks["twin"] = (
            stacks["backbone"]
            if twin is model
            else twin.features(pictures, pool=pool).stacks["backbone"]
        )
    for row, (item, _) in enumerate(pairs):
        ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
        kept: dict[str, np.ndarray] = {}
        fault = ""
        for name, features in stacks.items():
            parts = {name: features[row].mean(axis=1) if tokens else features[row]}
            if tokens:
                parts[tokens_of(name)] = features[row]
            for key, part in parts.items():
                half = packed(part, name=name)
                if isinstance(half, str):
                    fault = fault or half
                else:
                    kept[key] = half
        if tokens:
            count = next(iter(stacks.values())).shape[2]
            kept[PIXELS] = patches_of(found.pixels[row], tokens=count)
        if fault:
            yield Output(**ids, error=f"the features are of no use: {fault}")
        else:
            yield Output(
                **ids, arrays={name: ArrayRow(array=array) for name, array in kept.items()}
            )
