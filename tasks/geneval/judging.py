"""Pictures through detector, colours and rules, a batch at a time and never all at once."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import IncompleteError, Output, PictureError, Sample, Score
from unimm_eval.judges import clip_colors
from unimm_eval.judges.clip_colors import ClipColors, masked_crop
from unimm_eval.judges.mask2former import DetectedObject, Mask2Former, Variant
from unimm_eval.judges.weights import resolve_device
from unimm_eval.tasks.geneval.prompts import OBJECT_NAMES
from unimm_eval.tasks.geneval.rules import (
    THRESHOLD,
    Box,
    Detection,
    boxes_to_color,
    kept,
    score_image,
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`details` are the detections that were looked at, by class: [x1, y1, x2, y2, score]."""

    correct: bool
    reason: str
    details: Mapping[str, list[list[float]]]


@dataclass(frozen=True, kw_only=True)
class PictureJudge:
    """What looks at pictures: loaded networks."""

    detector: Mask2Former
    colors: ClipColors

    @classmethod
    def load(cls, variant: Variant, data_dir: Path, *, device: str) -> "PictureJudge":
        where = resolve_device(device)
        return cls(
            detector=Mask2Former.load(variant.weights.find(data_dir), device=where),
            colors=ClipColors.load(clip_colors.WEIGHTS.find(data_dir), device=where),
        )

    def verdicts(
        self, pictures: Sequence[np.ndarray], metadata: Sequence[Mapping[str, Any]]
    ) -> list[Verdict]:
        """Verdicts of uint8 pictures of one size; all colours are asked for in one go."""
        found = [_by_class(objects) for objects in self.detector.detect(pictures, floor=THRESHOLD)]
        detections = [
            {name: [(*row.box, row.score) for row in rows] for name, rows in by_class.items()}
            for by_class in found
        ]
        asked = [
            (index, name, box)
            for index, (each, wanted) in enumerate(zip(detections, metadata, strict=True))
            for name, box in boxes_to_color(each, wanted)
        ]
        crops = [
            (name, _crop(pictures[index], found[index][name], box)) for index, name, box in asked
        ]
        colors = dict(zip(asked, self.colors.classify(crops), strict=True))
        return [
            _verdict(each, wanted, {key[1:]: color for key, color in colors.items() if key[0] == i})
            for i, (each, wanted) in enumerate(zip(detections, metadata, strict=True))
        ]


def _verdict(
    detections: Mapping[str, Sequence[Detection]],
    metadata: Mapping[str, Any],
    colors: Mapping[tuple[str, Box], str],
) -> Verdict:
    correct, reason = score_image(
        detections, metadata, classify_color=lambda name, box: colors[name, box]
    )
    looked_at = kept(detections, metadata)
    details = {name: [list(row) for row in rows] for name, rows in looked_at.items()}
    return Verdict(correct=correct, reason=reason, details=details)


def _by_class(objects: Sequence[DetectedObject]) -> dict[str, list[DetectedObject]]:
    """By GenEval's name of the class, the best score first."""
    found: dict[str, list[DetectedObject]] = defaultdict(list)
    for each in sorted(objects, key=lambda each: -each.score):
        found[OBJECT_NAMES[each.label]].append(each)
    return dict(found)


def _crop(picture: np.ndarray, rows: Sequence[DetectedObject], box: Box) -> np.ndarray:
    """Of two objects with one box, the more certain one is shown."""
    shown = next(row for row in rows if row.box == box)
    return masked_crop(picture, shown.box, shown.mask.cpu().numpy())


def scores(
    samples: Sequence[Sample], outputs: Sequence[Output], judge: PictureJudge, *, batch_size: int
) -> Iterator[Score]:
    """Scores in order, but those of pictures that cannot be read, which come at once."""
    waiting: list[tuple[Sample, Output, np.ndarray]] = []
    pictures = _decoded(outputs, ahead=2 * batch_size)
    for sample, output, picture in zip(samples, outputs, pictures, strict=True):
        if isinstance(picture, str):
            yield Score(sample_id=output.sample_id, repeat=output.repeat, unscored=picture)
            continue
        if waiting and (len(waiting) == batch_size or waiting[0][2].shape != picture.shape):
            yield from _judged(waiting, judge)
            waiting = []
        waiting.append((sample, output, picture))
    if waiting:
        yield from _judged(waiting, judge)


def _judged(
    batch: Sequence[tuple[Sample, Output, np.ndarray]], judge: PictureJudge
) -> Iterator[Score]:
    import torch

    try:
        found = judge.verdicts([row[2] for row in batch], [row[0].inputs for row in batch])
    except torch.OutOfMemoryError as error:
        raise IncompleteError(
            f"{len(batch)} pictures at once do not fit into the memory of the judge's device.",
            fix="--set geneval.judge_batch_size=1 looks at one at a time, --set "
            "geneval.judge_device=cpu elsewhere; the run goes on where it stopped.",
        ) from error
    for (_, output, _), verdict in zip(batch, found, strict=True):
        yield Score(
            sample_id=output.sample_id,
            repeat=output.repeat,
            values={"correct": float(verdict.correct)},
            payload={"reason": verdict.reason, "details": verdict.details},
        )


def _decoded(outputs: Sequence[Output], *, ahead: int) -> Iterator[np.ndarray | str]:
    """Pictures, or why there is none, in order; a thread reads them, at most `ahead` of whoever
    takes them, so that the detector does not wait for files."""
    with ThreadPoolExecutor(max_workers=1) as thread:  # decoding changes the process's warnings
        rest = iter(outputs)
        queue: deque[Future[np.ndarray | str]] = deque(
            thread.submit(_decode, output) for output in islice(rest, ahead)
        )
        while queue:
            future = queue.popleft()
            queue.extend(thread.submit(_decode, output) for output in islice(rest, 1))
            yield future.result()


def _decode(output: Output) -> np.ndarray | str:
    if output.error is not None:
        return output.error
    try:
        return output.media["picture"].load()
    except PictureError as error:
        return error.what
