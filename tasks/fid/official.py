"""`fid`: how far pictures of captions are from the pictures that the captions are of."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from unimm_eval import data, stats
from unimm_eval.api import (
    Exhibit,
    IncompleteError,
    Metric,
    Output,
    PictureError,
    Sample,
    Score,
    TaskConfig,
    UserError,
    make_samples,
    stable_hash,
)
from unimm_eval.judges.inception import (
    DEFINITIONS,
    FEATURES,
    Definition,
    DefinitionName,
    Inception,
)
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.cc12m.folder import Captioned, read_folder
from unimm_eval.tasks.drawing import DrawingConfig, DrawingTask
from unimm_eval.tasks.fid.extras import CLIP, LPIPS, Extra, Extras, clip_extra, lpips_extra
from unimm_eval.tasks.fid.frechet import Statistics
from unimm_eval.tasks.fid.reference import reference_statistics
from unimm_eval.tasks.fid.summary import FEATURES as ARRAY
from unimm_eval.tasks.fid.summary import distance_metric

LEAST = FEATURES
NOTHING = "no two pictures of a caption have one size that the network can look at"


class FidConfig(DrawingConfig):
    path: Path | None = Field(None, description="a folder of pictures with captions")
    definition: DefinitionName = Field(
        "clean", description="how pictures are resized, and by whose network; never mixed"
    )
    images_per_prompt: int = Field(1, ge=1, description="pictures of each caption")
    allow_small: bool = Field(False, description=f"accept fewer than {LEAST} pictures")
    clip_score: bool = Field(True, description="CLIPScore too, where its weights are there")
    lpips_diversity: bool = Field(
        True, description="LPIPS between pictures of a caption too, where its weights are there"
    )
    bootstrap_resamples: int = Field(200, ge=2, description="draws behind the interval")
    judge_device: str = Field("auto", description="where the networks run")
    judge_batch_size: int = Field(32, ge=1, description="pictures a network sees at once")


class Fid(DrawingTask):
    """Fréchet Inception distance of generated pictures from a folder's, with CLIPScore and LPIPS
    diversity beside it."""

    Config: ClassVar[type[TaskConfig]] = FidConfig
    scope: ClassVar[Literal["sample", "repeats", "set"]] = "repeats"
    unpinned: ClassVar[frozenset[str]] = frozenset(FidConfig.model_fields) - {
        "definition",
        "images_per_prompt",
    }
    config: FidConfig

    @property
    def definition(self) -> Definition:
        return DEFINITIONS[self.config.definition]

    @cached_property
    def _pictures(self) -> list[Captioned]:
        if self.config.path is None:
            raise UserError(
                "the task `fid` needs pictures to compare with",
                fix="--set fid.path=FOLDER (pictures of COCO, of CC12M or your own, each with its "
                "caption in a .txt file of the same name, or all captions in captions.jsonl)",
            )
        return read_folder(self.config.path.expanduser(), setting="fid.path")

    @cached_property
    def _key_of(self) -> dict[str, str]:
        """The benchmark's own id of each picture: its name without folders' strokes and suffix.
        Raises UserError when two have one."""
        found: dict[str, list[str]] = defaultdict(list)
        for picture in self._pictures:
            key = picture.name.rpartition(".")[0].replace("/", "_")
            found[str(int(key)) if key.isdecimal() else key].append(picture.name)
        twice = next((names for names in found.values() if len(names) > 1), None)
        if twice is not None:
            raise UserError(
                f"{self.config.path}: {' and '.join(twice)} would have one id.",
                fix="Rename one of them: an id is the name without its suffix.",
            )
        return {names[0]: key for key, names in found.items()}

    def check(self) -> None:
        """Raise one UserError naming everything that is missing or wrong: pictures, weights, the
        device."""
        problems: list[UserError] = []
        for step in (self._check_pictures, self._check_weights, self._check_device):
            try:
                step()
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )

    def _check_pictures(self) -> None:
        rows = len(self._key_of)
        prompts = min(rows, self.config.limit or rows)
        self._check_size(prompts * self.config.images_per_prompt, "pictures would be made")
        self._check_size(rows, "reference pictures are there")

    def _check_size(self, pictures: int, what: str) -> None:
        if pictures < LEAST and not self.config.allow_small:
            raise UserError(
                f"{pictures} {what}, and an FID needs {LEAST}: the covariance of fewer does not "
                f"have full rank in {FEATURES} dimensions, and the fewer there are, the larger "
                "the distance becomes, so that it compares with no other.",
                fix="Use more pictures, or --set fid.allow_small=true for a number that compares "
                "only with others of as many pictures.",
            )

    def _check_weights(self) -> None:
        _ = self._weights

    def _check_device(self) -> None:
        if self.config.judge_device != "auto":
            resolve_device(self.config.judge_device)

    @cached_property
    def _files(self) -> Mapping[str, data.DataFile]:
        return {file.name: file for file in data.files_of(self.card)}

    @cached_property
    def _weights(self) -> Path:
        return data.verify(self._files[self.definition.file], self.data_dir, task="fid")

    @cached_property
    def _extras(self) -> Mapping[str, Extra]:
        config = self.config
        return {
            CLIP: clip_extra(config.clip_score, self.data_dir),
            LPIPS: lpips_extra(
                config.lpips_diversity, self._files, self.data_dir, config.images_per_prompt
            ),
        }

    @cached_property
    def _distance_identity(self) -> str:
        digest = data.sha256_file(self._weights)[:16]
        return f"{super().judge_identity()}, {self.definition.label} {digest}"

    def judge_identity(self) -> str:
        """The definition with its weights, and the networks of CLIPScore and LPIPS in use."""
        used = [extra.identity for extra in self._extras.values() if extra.path is not None]
        return ", ".join([self._distance_identity, *used])

    def protocol_hash(self, overrides: Mapping[str, Any]) -> str:
        """An FID is the same number with and without CLIPScore beside it."""
        changed = {key: value for key, value in overrides.items() if key not in self.unpinned}
        changed["data"] = self.data_identity()
        return self.card.protocol_hash(changed, self._distance_identity)

    def data_identity(self) -> str:
        return stable_hash([[picture.sha256, picture.caption] for picture in self._pictures])

    def samples(self) -> Iterator[Sample]:
        """The captions in order of their pictures' names; the caption's picture is the cluster."""
        rows = (
            (
                {
                    "key": self._key_of[picture.name],
                    "prompt": picture.caption,
                    "sha256": picture.sha256,
                },
                picture.name,
            )
            for picture in self._pictures
        )
        return make_samples(rows, repeats=self.config.images_per_prompt)

    def _load(self) -> Inception:
        return Inception(
            self.definition,
            self._weights,
            device=resolve_device(self.config.judge_device),
            batch_size=self.config.judge_batch_size,
        )

    def _reference(self, load: Callable[[], Inception]) -> Statistics:
        return reference_statistics(
            self._pictures,
            load=load,
            identity=self._distance_identity,
            data_dir=self.data_dir,
        )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Features of each picture, its CLIPScore, and its distance from others of its caption.

        A few captions' pictures at a time; the networks are there only as long as this runs. The
        reference pictures are looked at first, so that nothing is left to fail at the end.
        """
        import torch

        inception = self._load()
        self._reference(lambda: inception)
        extras = Extras.load(
            self._extras,
            device=resolve_device(self.config.judge_device),
            batch_size=self.config.judge_batch_size,
        )
        pairs = zip(samples, outputs, strict=True)
        for group in _whole_prompts(pairs, at_least=self.config.judge_batch_size):
            try:
                found = list(_scores(group, inception, extras))
            except torch.OutOfMemoryError as error:
                raise IncompleteError(
                    f"{self.config.judge_batch_size} pictures at once do not fit into the memory "
                    "of the judge's device.",
                    fix="--set fid.judge_batch_size=1 looks at one at a time, --set "
                    "fid.judge_device=cpu elsewhere; the run goes on where it stopped.",
                ) from error
            yield from found

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """`fid`, and `clip_score` and `lpips_diversity` where they were had; why not stands in the
        facts of `fid`."""
        self._check_size(sum(score.unscored is None for score in scores), "pictures were scored")
        extras = {
            name: _mean_of(name, samples, scores)
            for name, extra in self._extras.items()
            if extra.path is not None
        }
        fid = distance_metric(
            "fid",
            samples,
            scores,
            self._reference(self._load),
            resamples=self.config.bootstrap_resamples,
            facts={
                "definition": self.definition.label,
                **{name: extra.told for name, extra in self._extras.items()},
                **{name: f"absent: {NOTHING}" for name, mean in extras.items() if mean is None},
            },
        )
        return [metric for metric in (fid, *extras.values()) if metric is not None]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        return Exhibit(
            group="pictures",
            prompt=sample.inputs["prompt"],
            note=score.unscored or "",
            shown=dict(output.media),
            facts=dict(score.values),
        )


def _whole_prompts(
    pairs: Iterable[tuple[Sample, Output]], *, at_least: int
) -> Iterator[list[tuple[Sample, Output]]]:
    """Consecutive pairs, a sample's all together, at least so many at a time but for the last."""
    waiting: list[tuple[Sample, Output]] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0].id):
        waiting += group
        if len(waiting) >= at_least:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _scores(
    group: Sequence[tuple[Sample, Output]], inception: Inception, extras: Extras
) -> Iterator[Score]:
    seen: list[tuple[Sample, Output, np.ndarray]] = []
    for sample, output in group:
        picture = _decoded(output)
        if isinstance(picture, str):
            yield Score(sample_id=sample.id, repeat=output.repeat, unscored=picture)
        else:
            seen.append((sample, output, picture))
    pictures = [picture for _, _, picture in seen]
    values = extras.values(pictures, [sample for sample, _, _ in seen])
    rows = zip(seen, inception.features(pictures), values, strict=True)
    for (sample, output, _), features, numbers in rows:
        ids: dict[str, Any] = {"sample_id": sample.id, "repeat": output.repeat}
        if np.isfinite(features).all():
            yield Score(**ids, values=numbers, arrays={ARRAY: features})
        else:
            yield Score(**ids, unscored="the features are not finite")


def _decoded(output: Output) -> np.ndarray | str:
    """The picture, or why there is none."""
    if output.error is not None:
        return output.error
    try:
        return output.media["picture"].load()
    except PictureError as error:
        return error.what


def _mean_of(name: str, samples: Sequence[Sample], scores: Sequence[Score]) -> Metric | None:
    """Mean over the pictures that have the value, clustered by caption."""
    pairs = zip(samples, scores, strict=True)
    found = [
        (score.values[name], sample.cluster) for sample, score in pairs if name in score.values
    ]
    if not found:
        return None
    return stats.clustered_mean(
        list(map(itemgetter(0), found)), list(map(itemgetter(1), found))
    ).metric(name, unscored=len(scores) - len(found))
