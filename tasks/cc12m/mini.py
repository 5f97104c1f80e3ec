"""`cc12m:mini`: flow loss of pictures of the embedded world."""

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Picture, Sample, TaskConfig, make_samples, stable_hash
from unimm_eval.tasks.cc12m.flow import FlowConfig, FlowLossTask


class Cc12mMiniConfig(FlowConfig):
    pictures: int = Field(192, ge=1, description="pictures like those of training")
    held_out_pictures: int = Field(64, ge=0, description="pictures that show what training lacks")


class Cc12mMini(FlowLossTask):
    """Flow loss on captioned pictures of the world that training never saw."""

    Config: ClassVar[type[TaskConfig]] = Cc12mMiniConfig
    config: Cc12mMiniConfig

    def samples(self) -> Iterator[Sample]:
        """One a picture, as its description; one repeat a time."""
        return make_samples(self._rows(), repeats=self.config.times)

    def _rows(self) -> list[tuple[dict[str, Any], str]]:
        """Pictures as they are drawn, those that training lacks last."""
        from unimm_eval.world import rng_for, sample_captioned

        left = {False: self.config.pictures, True: self.config.held_out_pictures}
        found: dict[bool, list[tuple[dict[str, Any], str]]] = {False: [], True: []}
        for index in count():
            if not any(left.values()):
                break
            rng = rng_for(split="val", purpose="cc12m:mini", index=index)
            caption, scene, held_out = sample_captioned(rng, split="val")
            if left[held_out]:
                left[held_out] -= 1
                picture = scene.to_json()
                inputs = {"picture": picture, "caption": caption, "held_out": held_out}
                found[held_out].append((inputs, stable_hash(picture)))
        return found[False] + found[True]

    def picture(self, sample: Sample) -> Picture:
        from unimm_eval.world import picture_from_json, render

        return Picture(array=render(picture_from_json(sample.inputs["picture"])))
