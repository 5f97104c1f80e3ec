"""`cc12m`: flow loss of pictures of CC12M that are kept out of training, or of the user's."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unimm_eval import data
from unimm_eval.api import Picture, Sample, TaskConfig, make_samples, stable_hash
from unimm_eval.tasks.cc12m.flow import FlowConfig, FlowLossTask
from unimm_eval.tasks.cc12m.pictures import (
    CaptionedPicture,
    identity_of,
    inputs_of,
    read_pictures,
)


class Cc12mConfig(FlowConfig):
    path: Path | None = Field(
        None, description="a shard (.tar), a folder of shards, or one of pictures with captions"
    )
    pictures: int = Field(1000, ge=1, description="pictures from the beginning of the shards")


class Cc12m(FlowLossTask):
    """Flow loss on the first pictures of a shard of CC12M, or on a folder of pictures."""

    Config: ClassVar[type[TaskConfig]] = Cc12mConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path"})
    config: Cc12mConfig

    def check(self) -> None:
        """Read everything once. Raises UserError naming what cannot be used."""
        _ = self._pictures

    @cached_property
    def _pictures(self) -> Sequence[CaptionedPicture]:
        return read_pictures(
            self.config.path,
            setting="cc12m.path",
            pictures=self.config.pictures,
            files=data.files_of(self.card),
            data_dir=self.data_dir,
            task=self.card.name,
        )

    @cached_property
    def _by_name(self) -> Mapping[str, CaptionedPicture]:
        return {row.name: row for row in self._pictures}

    def data_identity(self) -> str:
        return stable_hash(identity_of(self._pictures))

    def samples(self) -> Iterator[Sample]:
        """One a picture, which is its own cluster; one repeat a time."""
        return make_samples(
            ((inputs_of(row), row.sha256 or row.name) for row in self._pictures),
            repeats=self.config.times,
        )

    def picture(self, sample: Sample) -> Picture:
        return self._by_name[sample.inputs["picture"]].picture()
