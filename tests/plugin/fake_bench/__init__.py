"""A third party's plug-in: quick tasks whose strings are as hostile as strings get."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from fake_bench.judge import Judged
from unimm_eval import stats
from unimm_eval.api import (
    ChatRequest,
    Context,
    Exhibit,
    ImageRequest,
    Item,
    Metric,
    Output,
    Picture,
    Sample,
    Score,
    Task,
    TaskConfig,
    make_samples,
)

__all__ = ["COLOURS", "HOSTILE", "Colours", "Echo", "Judged"]

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 200, 60),
    "blue": (50, 80, 230),
}
HOSTILE = (
    "<script>alert(1)</script> \x1b[31mred\x1b[0m \u202e'\" onerror=alert(2) {{7*7}} &amp; ]]>"
)


class ColourConfig(TaskConfig):
    shade: float = Field(1.0, ge=0, le=1, description="how bright a colour is asked for")
    explode: bool = Field(False, description="raise in the middle of the run")


class Colours(Task):
    """A picture of a colour; right when its mean pixel is nearest to that colour."""

    Config: ClassVar[type[TaskConfig]] = ColourConfig
    config: ColourConfig

    def samples(self) -> Iterator[Sample]:
        return make_samples(
            ({"colour": colour, "prompt": f"{colour} no. {index} {HOSTILE}"}, f"{index}")
            for index in range(40)
            for colour in COLOURS
        )

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        if self.config.explode:
            raise RuntimeError(f"exploded {HOSTILE}")
        requests = [
            ImageRequest(
                sample_id=item.sample.id,
                seed=item.seed,
                prompt=item.sample.inputs["prompt"],
                key=item.sample.id,
                guidance_scale=1.0,
                num_inference_steps=1,
            )
            for item in items
        ]
        for request, array in zip(requests, model.generate_images(requests), strict=True):
            yield Output(sample_id=request.sample_id, media={"picture": Picture(array=array)})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        for sample, output in zip(samples, outputs, strict=True):
            mean = output.media["picture"].load().reshape(-1, 3).mean(axis=0)
            seen = min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))
            correct = float(seen == sample.inputs["colour"])
            yield Score(sample_id=sample.id, values={"correct": correct}, payload={"seen": seen})

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        values = [score.values["correct"] for score in scores]
        estimate = stats.clustered_mean(values, [sample.cluster for sample in samples])
        return [estimate.metric("accuracy", chance=1 / 3, facts={"note": HOSTILE})]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit:
        return Exhibit(
            group=f"{sample.inputs['colour']} {HOSTILE}",
            prompt=sample.inputs["prompt"],
            answer=score.payload["seen"],
            expected=sample.inputs["colour"],
            correct=bool(score.values["correct"]),
            shown={f"picture {HOSTILE}": output.media["picture"]},
            facts={HOSTILE: HOSTILE},
        )


class Echo(Task):
    """The model must repeat a word; every fifth answer cannot be judged."""

    def samples(self) -> Iterator[Sample]:
        return make_samples(({"word": f"word{index}"}, f"{index}") for index in range(10))

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        requests = [
            ChatRequest(sample_id=item.sample.id, parts=(item.sample.inputs["word"],))
            for item in items
        ]
        for request, text in zip(requests, model.generate_text(requests), strict=True):
            yield Output(sample_id=request.sample_id, values={"text": text})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        for sample, output in zip(samples, outputs, strict=True):
            word = sample.inputs["word"]
            if word.endswith(("4", "9")):
                yield Score(sample_id=sample.id, unscored=f"the judge was down {HOSTILE}")
            else:
                correct = float(word in output.values["text"])
                yield Score(sample_id=sample.id, values={"correct": correct})

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        scored = [score for score in scores if score.unscored is None]
        values = [score.values["correct"] for score in scored]
        estimate = stats.clustered_mean(values, [score.sample_id for score in scored])
        return [estimate.metric("accuracy", unscored=len(scores) - len(scored))]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit:
        return Exhibit(
            group="words",
            prompt=f"Repeat: {sample.inputs['word']}",
            answer=output.values["text"],
            expected=sample.inputs["word"],
            correct=bool(score.values.get("correct")),
        )
