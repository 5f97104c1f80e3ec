"""`fid:mini`: how far pictures of the world's captions are from true ones to a small classifier."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count, islice
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    Exhibit,
    Metric,
    Output,
    Sample,
    Score,
    TaskConfig,
    make_samples,
)
from unimm_eval.tasks.drawing import DrawingConfig, PictureScoringTask
from unimm_eval.tasks.fid import classifier
from unimm_eval.tasks.fid.frechet import Statistics, frechet_distance, statistics_of
from unimm_eval.tasks.fid.summary import FEATURES, distance_metric


class FidMiniConfig(DrawingConfig):
    pictures: int = Field(256, ge=1, description="captions, with one picture each")
    reference_pictures: int = Field(4096, ge=2, description="true pictures to compare with")
    bootstrap_resamples: int = Field(1000, ge=2, description="draws behind the interval")


class FidMini(PictureScoringTask):
    """Fréchet distance of pictures from true ones, on the features of the world's classifier."""

    Config: ClassVar[type[TaskConfig]] = FidMiniConfig
    config: FidMiniConfig

    def judge_identity(self) -> str:
        """The protocol and the weights of the classifier."""
        return f"{super().judge_identity()}, classifier {classifier.weights_sha256()[:16]}"

    def samples(self) -> Iterator[Sample]:
        """Captions of the kinds that training shows; the caption is the cluster."""
        rows = islice(_captioned("test", "fid:mini"), self.config.pictures)
        return make_samples(
            ({"key": f"{index:04d}", "prompt": prompt}, prompt)
            for index, (prompt, _) in enumerate(rows)
        )

    def score(self, sample: Sample, picture: np.ndarray) -> dict[str, Any]:
        """The classifier's features."""
        return {"arrays": {FEATURES: next(classifier.features_of([picture]))}}

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """`distance`; chance is what gray pictures score, and among the facts is what as many
        other true ones do, which is the best that can be had."""
        scored = sum(score.unscored is None for score in scores)
        reference = _true_statistics("val", "fid:mini/reference", self.config.reference_pictures)
        # A model that knows nothing draws the middle of the range.
        gray = np.full((classifier.CANVAS, classifier.CANVAS, 3), 128, np.uint8)
        metric = distance_metric(
            "distance",
            samples,
            scores,
            reference,
            resamples=self.config.bootstrap_resamples,
            chance=frechet_distance(statistics_of(classifier.features_of([gray])), reference),
            facts={
                "definition": f"classifier {classifier.weights_sha256()[:16]}",
                "true_pictures": frechet_distance(
                    _true_statistics("val", "fid:mini/true", max(1, scored)), reference
                ),
            },
        )
        return [] if metric is None else [metric]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        return Exhibit(
            group="pictures",
            prompt=sample.inputs["prompt"],
            note=score.unscored or "",
            shown=dict(output.media),
        )


def true_pictures(split: Any, purpose: str) -> Iterator[np.ndarray]:
    """True pictures of captions like those of the task, without end: uint8 [32, 32, 3]."""
    from unimm_eval.world import render

    return (render(scene) for _, scene in _captioned(split, purpose))


def _captioned(split: Any, purpose: str) -> Iterator[tuple[str, Any]]:
    """(caption, true scene) as in training: none shows a held-out combination."""
    from unimm_eval.world import rng_for, sample_pair

    for index in count():
        rng = rng_for(split=split, purpose=purpose, index=index)
        prompt, scene, metadata = sample_pair(rng, split=split)
        if not metadata["held_out"]:
            yield prompt, scene


@lru_cache(maxsize=4)
def _true_statistics(split: str, purpose: str, pictures: int) -> Statistics:
    return statistics_of(classifier.features_of(islice(true_pictures(split, purpose), pictures)))
