"""A judge that compares two lines, and a task that asks it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from unimm_eval import stats
from unimm_eval.api import ChatRequest, Context, Item, Metric, Output, Sample, Score, make_samples
from unimm_eval.judges import Answer, JudgedTask, Question, verdicts, yes_or_no
from unimm_eval.judges.settings import JudgeSettings


class StrictJudge:
    """`strict`: yes where the second line holds the first."""

    summary: ClassVar[str] = "a judge for tests"
    examples: ClassVar[tuple[str, ...]] = ("strict",)
    identity = "strict@1"
    varies = False

    @classmethod
    def matches(cls, spec: str) -> bool:
        return spec == "strict"

    @classmethod
    def open(cls, spec: str, settings: JudgeSettings) -> "StrictJudge":
        return cls()

    def answers(self, questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            wanted, said = "".join(map(str, question.parts)).split("\n", 1)
            yield Answer(key=question.key, text="Yes" if wanted in said else "No")


class Judged(JudgedTask):
    """The model must repeat a word; the judge says whether it did."""

    def samples(self) -> Iterator[Sample]:
        return make_samples(({"word": f"word{index}"}, f"{index}") for index in range(6))

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        requests = [
            ChatRequest(sample_id=item.sample.id, parts=(item.sample.inputs["word"],))
            for item in items
        ]
        for request, text in zip(requests, model.generate_text(requests), strict=True):
            yield Output(sample_id=request.sample_id, values={"text": text})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        questions = [
            Question(key=sample.id, parts=(f"{sample.inputs['word']}\n{output.values['text']}",))
            for sample, output in zip(samples, outputs, strict=True)
        ]
        for verdict in verdicts(self.the_judge, questions, parse=yes_or_no, tries=1):
            yield Score(sample_id=verdict.key, values={"correct": float(bool(verdict.value))})

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        estimate = stats.clustered_mean(
            [score.values["correct"] for score in scores], [sample.cluster for sample in samples]
        )
        return [estimate.metric("accuracy", facts=self.judging_facts(scores))]
