"""CLIPScore and LPIPS diversity: beside the distance, where their weights are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from unimm_eval import data
from unimm_eval.api import Sample, UserError
from unimm_eval.judges import clip_score, lpips_distance
from unimm_eval.judges.clip_score import ClipScore
from unimm_eval.judges.lpips_distance import LpipsDistance

CLIP = "clip_score"
LPIPS = "lpips_diversity"


@dataclass(frozen=True, kw_only=True)
class Extra:
    """`path` of the weights, or None; `told` is what it is, or why it is absent."""

    told: str
    path: Path | None = None
    identity: str = ""


def clip_extra(wanted: bool, data_dir: Path) -> Extra:
    if not wanted:
        return Extra(told="absent: switched off")
    try:
        path = clip_score.WEIGHTS.find(data_dir)
    except UserError as error:
        return Extra(told=f"absent: {error.what}")
    return _present(clip_score.LABEL, path, clip_score.WEIGHTS.sha256(data_dir))


def lpips_extra(
    wanted: bool, files: Mapping[str, data.DataFile], data_dir: Path, images_per_prompt: int
) -> Extra:
    if not wanted:
        return Extra(told="absent: switched off")
    if images_per_prompt < 2:
        return Extra(told="absent: there is one picture a caption")
    try:
        path = data.verify(files[lpips_distance.FILE], data_dir, task="fid")
    except UserError as error:
        return Extra(told=f"absent: {error.what}")
    return _present(lpips_distance.LABEL, path, data.sha256_file(path))


def _present(label: str, path: Path, digest: str) -> Extra:
    identity = f"{label} {digest[:16]}"
    return Extra(told=identity, path=path, identity=identity)


class Extras:
    """The networks that are there."""

    def __init__(self, clip: ClipScore | None, lpips: LpipsDistance | None) -> None:
        self._clip = clip
        self._lpips = lpips

    @classmethod
    def load(cls, extras: Mapping[str, Extra], *, device: str, batch_size: int) -> "Extras":
        """Raises UserError when weights that are there cannot be used."""
        clip, lpips = extras[CLIP].path, extras[LPIPS].path
        return cls(
            ClipScore.load(clip, device=device, batch_size=batch_size) if clip else None,
            LpipsDistance(lpips, device=device) if lpips else None,
        )

    def values(
        self, pictures: Sequence[np.ndarray], samples: Sequence[Sample]
    ) -> list[dict[str, float]]:
        """Named values of each picture; pictures of a sample stand together."""
        found: list[dict[str, float]] = [{} for _ in pictures]
        if self._clip is not None:
            captions = [sample.inputs["prompt"] for sample in samples]
            for values, score in zip(found, self._clip.scores(pictures, captions), strict=True):
                values[CLIP] = score
        if self._lpips is not None:
            for _, rows in groupby(range(len(pictures)), key=lambda row: samples[row].id):
                places = list(rows)
                apart = self._lpips.to_others([pictures[place] for place in places])
                for place, distance in zip(places, apart, strict=True):
                    if distance is not None:
                        found[place][LPIPS] = distance
        return found
