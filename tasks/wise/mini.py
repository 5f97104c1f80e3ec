"""`wise:mini`: pictures of riddles that only facts told in text resolve, with an exact judge."""

from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from unimm_eval import stats
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
from unimm_eval.tasks.geneval import verdict

KINDS = ("shape_riddle", "color_riddle")
_MAX_INDEX = 2000  # where riddles are looked for


class WiseMiniConfig(DrawingConfig):
    riddles_per_kind: int = Field(24, ge=1, description="riddles about shapes, and about colours")
    held_out_riddles: int = Field(
        12, ge=0, description="riddles whose answer is a colour that training never shows so"
    )
    images_per_prompt: int = Field(3, ge=1, description="pictures of each riddle")


class WiseMini(PictureScoringTask):
    """Whether a picture shows what a riddle means, which no caption says."""

    Config: ClassVar[type[TaskConfig]] = WiseMiniConfig
    config: WiseMiniConfig

    def samples(self) -> Iterator[Sample]:
        """Riddles with GenEval's metadata, the kinds taking turns, held-out ones last. The fact is
        the cluster: whoever does not know it misses all of its riddles."""
        return make_samples(
            ((row, row["fact"]) for row in self._riddles()), repeats=self.config.images_per_prompt
        )

    def _riddles(self) -> list[dict[str, Any]]:
        """Different riddles, as many of each kind as are asked for and as there are."""
        from unimm_eval.world import prompt_is_held_out, rng_for, sample_riddle

        each = self.config.riddles_per_kind
        left = {(kind, False): each for kind in KINDS}
        left[KINDS[1], True] = self.config.held_out_riddles
        chosen: dict[str, dict[str, Any]] = {}
        for index in range(_MAX_INDEX):
            rng = rng_for(split="test", purpose="wise:mini", index=index)
            metadata, fact = sample_riddle(rng)
            kind, held_out = metadata["tag"], prompt_is_held_out(metadata)
            if metadata["prompt"] in chosen or not left.get((kind, held_out), 0):
                continue
            left[kind, held_out] -= 1
            chosen[metadata["prompt"]] = {
                "key": f"{len(chosen):03d}",
                **metadata,
                "fact": fact.phrase,
                "answer": fact.answer,
                "held_out": held_out,
            }
            if not any(left.values()):
                break
        columns = [
            [row for row in chosen.values() if row["tag"] == kind and not row["held_out"]]
            for kind in KINDS
        ]
        turns = [row for row in chain.from_iterable(zip_longest(*columns)) if row is not None]
        return turns + [row for row in chosen.values() if row["held_out"]]

    def score(self, sample: Sample, picture: np.ndarray) -> dict[str, Any]:
        """Exactly one thing, and the one that is meant: several guesses at once are none."""
        correct, reason, details = verdict(picture, sample.inputs)
        things = sum(len(rows) for rows in details.values())
        if correct and things != 1:
            correct, reason = False, f"{things} things instead of one"
        return {
            "values": {"correct": float(correct)},
            "payload": {"reason": reason, "details": details},
        }

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """The overall score is the unweighted mean of both kinds; without one of them it is left
        out."""
        rows = list(zip(samples, scores, strict=True))
        seen = [row for row in rows if not row[0].inputs["held_out"]]
        held_out = [row for row in rows if row[0].inputs["held_out"]]
        metrics = [
            _mean("overall", seen, KINDS),
            _mean("held_out", held_out, KINDS[1:]),
            *(_mean(kind, seen, [kind]) for kind in KINDS),
        ]
        return [metric for metric in metrics if metric is not None]

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
            expected=inputs["answer"],
            correct=None if score.unscored else score.values["correct"] == 1.0,
            note=score.unscored or score.payload["reason"],
            shown=dict(output.media),
            facts={"seen": ", ".join(found) or "nothing", "held out": inputs["held_out"]},
        )


def _mean(name: str, rows: Sequence[tuple[Sample, Score]], kinds: Sequence[str]) -> Metric | None:
    """Unweighted mean of kinds' shares of right pictures; None if a kind has no scored one."""
    mine = [row for row in rows if row[0].inputs["tag"] in kinds]
    kept = [row for row in mine if row[1].unscored is None]
    if {sample.inputs["tag"] for sample, _ in kept} != set(kinds):
        return None
    return stats.macro_mean(
        [score.values["correct"] for _, score in kept],
        [sample.inputs["tag"] for sample, _ in kept],
        [sample.cluster for sample, _ in kept],
    ).metric(name, unscored=len(mine) - len(kept), chance=0.0)
