"""`geneval:mini`: GenEval's six tags on things of the embedded world."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
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
from unimm_eval.tasks.geneval.aggregate import mean_of_tags, summary
from unimm_eval.tasks.geneval.prompts import TAGS
from unimm_eval.tasks.geneval.rules import Box, Detection, score_image

HELD_OUT_TAGS = ("two_object", "colors", "position", "color_attr")
"""Tags whose words can state a combination that training lacks."""

_MAX_INDEX = 2000  # where a tag's prompts are looked for


class GenEvalMiniConfig(DrawingConfig):
    prompts_per_tag: int = Field(16, ge=1, description="prompts a tag, like those of training")
    held_out_prompts: int = Field(
        6, ge=0, description="prompts a tag that state what training lacks"
    )
    images_per_prompt: int = Field(4, ge=1, description="pictures of each prompt")


class GenEvalMini(PictureScoringTask):
    """Whether pictures show what their prompts say, by GenEval's rules."""

    Config: ClassVar[type[TaskConfig]] = GenEvalMiniConfig
    config: GenEvalMiniConfig

    def samples(self) -> Iterator[Sample]:
        """Prompts with GenEval's metadata, the tags taking turns, held-out ones last; the prompt is
        the cluster."""
        columns = [self._prompts(tag) for tag in TAGS]
        rows = (row for row in chain.from_iterable(zip_longest(*columns)) if row is not None)
        return make_samples(
            ((row, row["prompt"]) for row in rows), repeats=self.config.images_per_prompt
        )

    def _prompts(self, tag: str) -> list[dict[str, Any]]:
        """Different prompts of `tag`, as many as are asked for and as there are."""
        from unimm_eval.world import rng_for, sample_prompt

        left = {False: self.config.prompts_per_tag, True: self.config.held_out_prompts}
        chosen: dict[str, dict[str, Any]] = {}
        for index in range(_MAX_INDEX):
            rng = rng_for(split="test", purpose=f"geneval:mini/{tag}", index=index)
            metadata = sample_prompt(rng, tag=tag, split="test")
            if metadata["prompt"] not in chosen and left[metadata["held_out"]]:
                left[metadata["held_out"]] -= 1
                key = f"{tag}-{len(chosen):03d}"
                chosen[metadata["prompt"]] = {"key": key, **metadata}
            if not any(left.values()):
                break
        return sorted(chosen.values(), key=lambda metadata: metadata["held_out"])

    def score(self, sample: Sample, picture: np.ndarray) -> dict[str, Any]:
        """GenEval's rules on what the world's detector sees."""
        correct, reason, details = verdict(picture, sample.inputs)
        return {
            "values": {"correct": float(correct)},
            "payload": {"reason": reason, "details": details},
        }

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """GenEval's aggregation; combinations that training lacks have an overall score apart."""
        pairs = list(zip(samples, scores, strict=True))
        seen = [pair for pair in pairs if not pair[0].inputs["held_out"]]
        held_out = [pair for pair in pairs if pair[0].inputs["held_out"]]
        return summary(seen, extra=[mean_of_tags("overall_held_out", held_out, HELD_OUT_TAGS)])

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        found = [
            f"{row[5]} {name}"
            for name, rows in score.payload.get("details", {}).items()
            for row in rows
        ]
        return Exhibit(
            group=inputs["tag"],
            prompt=inputs["prompt"],
            correct=None if score.unscored else score.values["correct"] == 1.0,
            note=score.unscored or score.payload["reason"],
            shown=dict(output.media),
            facts={"seen": ", ".join(found) or "nothing", "held out": inputs["held_out"]},
        )


def verdict(
    array: np.ndarray, metadata: Mapping[str, Any]
) -> tuple[bool, str, dict[str, list[list[Any]]]]:
    """(correct, why not, what was seen) of a uint8 picture of any size.

    What was seen is, by shape, rows of left, top, right, bottom, score and colour. The detector
    knows the world's 32 × 32 canvas; other sizes are averaged down to it.
    """
    from unimm_eval.world.detector import detect

    seen: dict[str, list[Detection]] = defaultdict(list)
    details: dict[str, list[list[Any]]] = defaultdict(list)
    colors: dict[tuple[str, Box], str] = {}
    for found in detect(_on_canvas(array)):
        x1, y1, x2, y2 = (float(edge) for edge in found.box)
        seen[found.shape].append((x1, y1, x2, y2, found.score))
        details[found.shape].append([*found.box, round(found.score, 4), found.color])
        colors[found.shape, (x1, y1, x2, y2)] = found.color
    correct, reason = score_image(
        seen, metadata, classify_color=lambda name, box: colors[name, box]
    )
    return correct, reason, dict(details)


def _on_canvas(array: np.ndarray) -> np.ndarray:
    from PIL import Image

    from unimm_eval.world import CANVAS

    if array.shape[:2] == (CANVAS, CANVAS):
        return array
    resized = Image.fromarray(array).resize((CANVAS, CANVAS), Image.Resampling.BOX)
    return np.asarray(resized)
