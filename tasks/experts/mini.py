"""`experts:mini`: which experts the embedded world's text and pictures go to."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Picture, Sample, TaskConfig, make_samples, stable_hash
from unimm_eval.tasks.experts.official import in_turns
from unimm_eval.tasks.experts.task import ExpertsConfig, ExpertsTask


class ExpertsMiniConfig(ExpertsConfig):
    documents: int = Field(48, ge=1, description="documents of the world's language")
    pictures: int = Field(48, ge=1, description="captioned pictures of the world")


class ExpertsMini(ExpertsTask):
    """Choices of the routers on what of the world training never saw."""

    Config: ClassVar[type[TaskConfig]] = ExpertsMiniConfig
    config: ExpertsMiniConfig

    def samples(self) -> Iterator[Sample]:
        """Documents and pictures in turn, so that any limit has some of both."""
        return make_samples(in_turns(self._documents(), self._pictures()))

    def _documents(self) -> Iterator[tuple[dict[str, Any], str]]:
        from unimm_eval.world import rng_for, sample_document

        for index in range(self.config.documents):
            rng = rng_for(split="test", purpose="experts:mini", index=index)
            yield {"text": sample_document(rng, split="test").text}, f"document {index}"

    def _pictures(self) -> Iterator[tuple[dict[str, Any], str]]:
        from unimm_eval.world import rng_for, sample_captioned

        for index in range(self.config.pictures):
            rng = rng_for(split="test", purpose="experts:mini/pictures", index=index)
            caption, scene, _ = sample_captioned(rng, split="test")
            picture = scene.to_json()
            yield {"picture": picture, "caption": caption}, stable_hash(picture)

    def text_of(self, sample: Sample) -> str:
        return str(sample.inputs["text"])

    def picture_of(self, sample: Sample) -> Picture:
        from unimm_eval.world import picture_from_json, render

        return Picture(array=render(picture_from_json(sample.inputs["picture"])))
