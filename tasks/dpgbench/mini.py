"""`dpgbench:mini`: pictures of the world from long prompts, asked about as DPG-Bench asks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from unimm_eval.tasks.dpgbench.aggregate import Judged, categories, overall
from unimm_eval.tasks.dpgbench.graph import Question, asked_about, counted
from unimm_eval.tasks.dpgbench.worldly import WorldQuestion, answer, questions_about, things_in
from unimm_eval.tasks.drawing import DrawingConfig, PictureScoringTask

THINGS = (3, 4)
"""How many things prompts name; these take turns."""

_MAX_INDEX = 5000  # where scenes are looked for


class DPGBenchMiniConfig(DrawingConfig):
    prompts: int = Field(24, ge=1, description="prompts of pictures like those of training")
    held_out_prompts: int = Field(
        10, ge=0, description="prompts of pictures with a combination that training lacks"
    )
    images_per_prompt: int = Field(4, ge=1, description="pictures of each prompt")


class DPGBenchMini(PictureScoringTask):
    """Whether a picture shows everything that a prompt of three or four things says."""

    Config: ClassVar[type[TaskConfig]] = DPGBenchMiniConfig
    config: DPGBenchMiniConfig

    def samples(self) -> Iterator[Sample]:
        """Prompts with their questions and a true scene, held-out ones last; the prompt is the
        cluster."""
        rows = sorted(self._prompts(), key=lambda row: row["held_out"])
        return make_samples(
            (({"key": f"{index:03d}", **row}, row["prompt"]) for index, row in enumerate(rows)),
            repeats=self.config.images_per_prompt,
        )

    def _prompts(self) -> Iterator[dict[str, Any]]:
        from unimm_eval.world import inventory, rng_for, scene_is_held_out
        from unimm_eval.world.scenes import sample_distinct

        left = {False: self.config.prompts, True: self.config.held_out_prompts}
        found = {False: 0, True: 0}
        for index in range(_MAX_INDEX):
            rng = rng_for(split="test", purpose="dpgbench:mini", index=index)
            things = THINGS[index % len(THINGS)]
            scene = sample_distinct(rng, things=things)
            held_out = scene_is_held_out(scene)
            number = found[held_out]
            if number == left[held_out] or things != THINGS[number % len(THINGS)]:
                continue
            found[held_out] += 1
            yield {
                "prompt": inventory(scene, rng),
                "questions": questions_about(scene),
                "scene": scene.to_json(),
                "held_out": held_out,
            }
            if found == left:
                return

    def score(self, sample: Sample, picture: np.ndarray) -> dict[str, Any]:
        """All questions answered by what the world's detector sees, then zeroed."""
        seen = things_in(picture)
        score, answers = _judged(sample.inputs["questions"], seen)
        return {
            "values": {"score": score, "whole": float(all(answers.values()))},
            "payload": {"seen": seen, "answers": {str(id): said for id, said in answers.items()}},
        }

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Overall and categories on prompts like those of training; held-out ones apart.

        Chance is what the same pictures score by the questions of the other prompts.
        """
        rows = list(zip(samples, scores, strict=True))
        seen = [row for row in rows if not row[0].inputs["held_out"]]
        held_out = [row for row in rows if row[0].inputs["held_out"]]
        chances = _chances(seen)
        pictures = [_picture(sample, score) for sample, score in seen]
        metrics = [
            overall("overall", pictures, chance=chances.get("overall")),
            overall(
                "held_out",
                [_picture(sample, score) for sample, score in held_out],
                chance=_chances(held_out).get("overall"),
            ),
            _whole(seen, chance=chances.get("whole")),
            *categories(pictures, chances=chances),
        ]
        return [metric for metric in metrics if metric is not None]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        answers = score.payload.get("answers", {})
        failed = [q["question"] for q in inputs["questions"] if not answers.get(str(q["id"]), True)]
        things = [f"{color} {shape}" for shape, color, *_ in score.payload.get("seen", ())]
        return Exhibit(
            group="held out" if inputs["held_out"] else "like training",
            prompt=inputs["prompt"],
            correct=None if score.unscored else score.values["whole"] == 1.0,
            note=score.unscored or f"score {score.values['score']:.3f}",
            shown=dict(output.media),
            facts={
                "seen": ", ".join(things) or "nothing",
                "answered no": " ".join(failed) or "none",
            },
        )


def _judged(
    questions: Sequence[WorldQuestion], seen: Sequence[Sequence[Any]]
) -> tuple[float, dict[int, bool]]:
    """(score, answers before zeroing) of a picture in which `seen` is seen."""
    answers = {question["id"]: answer(question["asks"], seen) for question in questions}
    worth = counted(questions, answers)
    return sum(map(bool, worth.values())) / len(worth), answers


def _picture(sample: Sample, score: Score) -> Judged:
    return Judged(
        cluster=sample.cluster,
        questions=sample.inputs["questions"],
        answers={int(key): said for key, said in score.payload.get("answers", {}).items()},
        score=None if score.unscored else score.values["score"],
    )


def _whole(rows: Sequence[tuple[Sample, Score]], *, chance: float | None) -> Metric | None:
    """Share of pictures about which every question is answered yes."""
    kept = [row for row in rows if row[1].unscored is None]
    if not kept:
        return None
    return stats.clustered_mean(
        [score.values["whole"] for _, score in kept], [sample.cluster for sample, _ in kept]
    ).metric("whole", unscored=len(rows) - len(kept), chance=chance)


def _chances(rows: Sequence[tuple[Sample, Score]]) -> dict[str, float]:
    """Means over every picture and every prompt but its own; empty where there is one prompt."""
    prompts: dict[str, list[WorldQuestion]] = {
        sample.cluster: sample.inputs["questions"] for sample, _ in rows
    }
    values: dict[str, list[float]] = defaultdict(list)
    for sample, score in rows:
        if score.unscored is not None:
            continue
        for prompt, questions in prompts.items():
            if prompt == sample.cluster:
                continue
            mean, answers = _judged(questions, score.payload["seen"])
            values["overall"].append(mean)
            values["whole"].append(float(all(answers.values())))
            _note(values, questions, answers)
    return {name: sum(found) / len(found) for name, found in values.items()}


def _note(
    values: dict[str, list[float]], questions: Sequence[Question], answers: Mapping[int, bool]
) -> None:
    for question in questions:
        for name in dict.fromkeys(asked_about(question)):
            values[name].append(float(answers[question["id"]]))
