"""`cc12m`: flow loss of captioned pictures, of the user's or of the embedded world."""

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Picture, Sample, TaskConfig, UserError, make_samples, stable_hash
from unimm_eval.tasks.cc12m.flow import FlowConfig, FlowLossTask
from unimm_eval.tasks.cc12m.folder import Captioned, read_folder


class Cc12mConfig(FlowConfig):
    path: Path | None = Field(None, description="a folder of pictures with captions")


class Cc12m(FlowLossTask):
    """Flow loss on a folder of pictures and captions."""

    Config: ClassVar[type[TaskConfig]] = Cc12mConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path"})
    config: Cc12mConfig

    def check(self) -> None:
        """Read and decode everything once. Raises UserError naming what cannot be used."""
        _ = self._pictures

    @cached_property
    def _pictures(self) -> list[Captioned]:
        if self.config.path is None:
            raise UserError(
                "the task `cc12m` needs pictures",
                fix="--set cc12m.path=FOLDER (pictures, each with its caption in a .txt file of "
                "the same name, or all captions in captions.jsonl)",
            )
        return read_folder(self.config.path.expanduser())

    @cached_property
    def _file_of(self) -> dict[str, Path]:
        return {row.name: row.file for row in self._pictures}

    def data_identity(self) -> str:
        return stable_hash([[row.sha256, row.caption] for row in self._pictures])

    def samples(self) -> Iterator[Sample]:
        """One a picture, which is its own cluster; one repeat a time."""
        return make_samples(
            (
                ({"picture": row.name, "sha256": row.sha256, "caption": row.caption}, row.sha256)
                for row in self._pictures
            ),
            repeats=self.config.times,
        )

    def picture(self, sample: Sample) -> Picture:
        return Picture(path=self._file_of[sample.inputs["picture"]])


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
