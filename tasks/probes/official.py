"""`probes`: on ImageNet-1K, or on labelled pictures of yours."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import Picture, Sample, TaskConfig, UserError, make_samples, stable_hash
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.probes.probing import SPLITS
from unimm_eval.tasks.probes.sources import LAYOUT, Labelled, Source, read_source
from unimm_eval.tasks.probes.splits import split_pictures
from unimm_eval.tasks.probes.task import ProbesConfig, ProbesTask

TARGET = "class"
_PLACE = "imagenet-1k"


class ProbesOfficialConfig(ProbesConfig):
    path: Path | None = Field(
        None,
        description="a folder of classes, or a data set of the Hugging Face library on disk; else "
        f"{_PLACE} of the data folder",
    )
    label_column: str | None = Field(
        None, description="the column of classes of a data set, where it has several"
    )
    pictures_per_class: int | None = Field(
        None, ge=2, description="at most so many pictures of a class to learn from and to choose by"
    )
    probe_device: str = Field("auto", description="where probes are trained")


class Probes(ProbesTask):
    """Layers probed for the class of a picture."""

    Config: ClassVar[type[TaskConfig]] = ProbesOfficialConfig
    unpinned: ClassVar[frozenset[str]] = frozenset(
        {"limit", "path", "label_column", "probe_device"}
    )
    config: ProbesOfficialConfig

    def check(self) -> None:
        """Raise one UserError for the pictures and the device."""
        problems: list[UserError] = []
        for step in (lambda: self._split, self.probe_device):
            try:
                step()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(error.fix for error in problems if error.fix),
            )

    def probe_device(self) -> str:
        return resolve_device(self.config.probe_device)

    def data_identity(self) -> str:
        """Contents with the numbers of their classes, so that the same pictures are the same data
        in folders and in a data set."""
        number = self._source.number
        return stable_hash(
            [[picture.sha256, number[picture.label], split] for picture, split in self._split]
        )

    def samples(self) -> Iterator[Sample]:
        """In the order of contents, which mixes splits and classes."""
        return make_samples(self._rows())

    def _rows(self) -> Iterator[tuple[dict[str, Any], str]]:
        decoded: Counter[str] = Counter()
        for picture, split in self._split:
            inputs: dict[str, Any] = {
                "picture": picture.name,
                "sha256": picture.sha256,
                "labels": {TARGET: picture.label},
                "split": split,
            }
            if decoded[split] < self.config.decoder_pictures:
                decoded[split] += 1
                inputs["decoder"] = True
            yield inputs, f"picture {picture.sha256}"

    def picture_of(self, sample: Sample) -> Picture:
        return self._by_name[sample.inputs["picture"]].picture()

    @cached_property
    def _source(self) -> Source:
        path = self.config.path
        if path is None:
            path = self.data_dir / _PLACE
            if not path.exists():
                data = self.card.data
                raise UserError(
                    f"The task `{self.card.name}` needs labelled pictures: {path} is missing.",
                    fix=f"hf download {data['source']} --repo-type dataset --revision "
                    f"{data['revision']} --local-dir {path} gets ImageNet-1K once its terms are "
                    f"accepted, or --set {self.card.name}.path=FOLDER names pictures of yours. "
                    f"{LAYOUT}",
                )
        return read_source(
            path.expanduser(),
            setting=f"{self.card.name}.path",
            label_column=self.config.label_column,
            cache=self.data_dir / "unpacked",
        )

    @cached_property
    def _split(self) -> Sequence[tuple[Labelled, str]]:
        found = split_pictures(self._source)
        if (most := self.config.pictures_per_class) is None:
            return found
        seen: Counter[tuple[str, str]] = Counter()
        kept = []
        for picture, split in found:
            seen[split, picture.label] += 1
            if split == SPLITS[-1] or seen[split, picture.label] <= most:
                kept.append((picture, split))
        return kept

    @cached_property
    def _by_name(self) -> Mapping[str, Labelled]:
        return {picture.name: picture for picture, _ in self._split}
