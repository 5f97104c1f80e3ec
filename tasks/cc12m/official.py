"""`cc12m`: flow loss of pictures of CC12M that are kept out of training, or of the user's."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from unimm_eval import data
from unimm_eval.api import Picture, Sample, TaskConfig, UserError, make_samples, stable_hash
from unimm_eval.tasks.cc12m.flow import FlowConfig, FlowLossTask
from unimm_eval.tasks.cc12m.folder import CAPTIONS, Captioned, first, scan_folder
from unimm_eval.tasks.cc12m.shards import ShardPicture, read_shards

SHARD = ".tar"


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

    def _read(self) -> Sequence[Captioned | ShardPicture]:
        if self.config.path is None:
            files = data.files_of(self.card)
            shards = [data.verify(file, self.data_dir, task="cc12m") for file in files]
        else:
            path = self.config.path.expanduser()
            shards = sorted(path.glob(f"*{SHARD}")) if path.is_dir() else [path]
            if path.suffix != SHARD and not (path.is_dir() and shards):
                return scan_folder(path)
        return read_shards(shards, pictures=self.config.pictures)

    @cached_property
    def _pictures(self) -> Sequence[Captioned | ShardPicture]:
        found = self._read()
        faults = [picture.fault for picture in found if picture.fault]
        if len(faults) == len(found):
            raise UserError(
                f"the task `cc12m` finds no picture that can be used in {self.config.path}\n  "
                + "\n  ".join(first(faults)),
                fix=CAPTIONS,
            )
        return found

    @cached_property
    def _by_name(self) -> Mapping[str, Captioned | ShardPicture]:
        return {row.name: row for row in self._pictures}

    def data_identity(self) -> str:
        return stable_hash([[row.sha256, row.caption or row.fault] for row in self._pictures])

    def samples(self) -> Iterator[Sample]:
        """One a picture, which is its own cluster; one repeat a time."""
        return make_samples(
            (
                (
                    {"picture": row.name, "sha256": row.sha256, "caption": row.caption}
                    | ({"fault": row.fault} if row.fault else {}),
                    row.sha256 or row.name,
                )
                for row in self._pictures
            ),
            repeats=self.config.times,
        )

    def picture(self, sample: Sample) -> Picture:
        return self._by_name[sample.inputs["picture"]].picture()
