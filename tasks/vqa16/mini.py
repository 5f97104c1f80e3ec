"""`vqa16:mini`: sixteen families of questions about pictures, one a VQA benchmark's skill."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval import stats
from unimm_eval.api import (
    ChatRequest,
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    Sample,
    Score,
    Task,
    TaskConfig,
    make_samples,
    stable_hash,
)

GROUPS = {
    "general": "General",
    "knowledge": "Knowledge",
    "ocr_chart": "OCR & Chart",
    "vision_centric": "Vision-centric",
}
"""Metric of each of Cambrian's four groups."""

_MAX_INDEX = 2000  # where a family's questions are looked for


class Vqa16MiniConfig(TaskConfig):
    questions: int = Field(40, ge=2, description="questions a family, like those of training")
    held_out_questions: int = Field(
        16, ge=0, description="questions a family on pictures that show what training lacks"
    )
    swap_pictures: bool = Field(
        False, description="ask each question about another question's picture, to see it matter"
    )


class Vqa16Mini(Task):
    """Mean accuracy over sixteen families of questions on the embedded world."""

    Config: ClassVar[type[TaskConfig]] = Vqa16MiniConfig
    config: Vqa16MiniConfig

    def samples(self) -> Iterator[Sample]:
        """Questions with the description of their picture, the families taking turns, those on
        held-out pictures last: the first sixteen samples already have a mean.

        The cluster is the picture, or the pair of pictures that differ in one attribute.
        """
        from itertools import chain, zip_longest

        from unimm_eval.world import FAMILIES

        columns = [self._family(name) for name in FAMILIES]
        rows = chain.from_iterable(zip_longest(*columns))
        return make_samples(row for row in rows if row is not None)

    def _family(self, family: str) -> list[tuple[dict[str, Any], str]]:
        from unimm_eval.world import question_at

        left = {False: self.config.questions, True: self.config.held_out_questions}
        found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for index in range(_MAX_INDEX):
            question = question_at(family=family, split="test", index=index)
            if left[question.held_out]:
                left[question.held_out] -= 1
                found[question.held_out].append(question.to_json())
            if not any(left.values()):
                break
        else:
            raise ValueError(f"{family}: too few questions among the first {_MAX_INDEX}")
        chosen = found[False] + found[True]
        if self.config.swap_pictures:
            # Half the list away: never its own picture, nor that of its pair.
            pictures = [row["picture"] for row in chosen]
            half = len(chosen) // 2
            others = pictures[half:] + pictures[:half]
            chosen = [{**row, "picture": other} for row, other in zip(chosen, others, strict=True)]
        return [(row, self._cluster(row)) for row in chosen]

    def _cluster(self, row: dict[str, Any]) -> str:
        if row["pair"] is not None:
            return f"{row['family']} pair {row['pair']}"
        return stable_hash(row["picture"])

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        requests = [
            ChatRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                parts=(picture_of(item.sample), item.sample.inputs["question"]),
                choices=tuple(item.sample.inputs["choices"]),
            )
            for item in items
        ]
        for item, answer in zip(items, model.generate_text(requests), strict=True):
            yield Output(sample_id=item.sample.id, repeat=item.repeat, values={"answer": answer})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """Exact match after spaces at the ends and capitals are dropped."""
        for sample, output in zip(samples, outputs, strict=True):
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
            else:
                correct = plain(output.values["answer"]) == plain(sample.inputs["answer"])
                yield Score(**ids, values={"correct": float(correct)})

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """The mean of sixteen, its four groups and sixteen families; held-out pictures apart.

        A mean is made only of all its families: one that is missing (under `limit`, or with no
        scored answer) leaves it out.
        """
        pairs = list(zip(samples, scores, strict=True))
        seen = [pair for pair in pairs if not pair[0].inputs["held_out"]]
        held_out = [pair for pair in pairs if pair[0].inputs["held_out"]]
        families = _families()
        every = [name for names in families.values() for name in names]
        metrics = [
            _accuracy("mean", seen, every),
            _accuracy("mean_held_out", held_out, every),
            *(_accuracy(metric, seen, families[group]) for metric, group in GROUPS.items()),
            *(_accuracy(name, seen, [name]) for name in every),
        ]
        return [metric for metric in metrics if metric is not None]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        return Exhibit(
            group=inputs["family"],
            prompt=inputs["question"],
            answer=str(output.values.get("answer", "")),
            expected=inputs["answer"],
            correct=None if score.unscored else score.values["correct"] == 1.0,
            note=score.unscored or "",
            shown={"picture": picture_of(sample)},
            facts={"choices": ", ".join(inputs["choices"]), "held out": inputs["held_out"]},
        )


def picture_of(sample: Sample) -> Picture:
    """The picture of a sample, drawn from its description."""
    from unimm_eval.world import picture_from_json, render

    return Picture(array=render(picture_from_json(sample.inputs["picture"])))


def plain(answer: str) -> str:
    return answer.strip().lower()


def _families() -> dict[str, list[str]]:
    """Names of the families of each group."""
    from unimm_eval.world import FAMILIES

    groups: dict[str, list[str]] = {group: [] for group in GROUPS.values()}
    for family in FAMILIES.values():
        groups[family.group].append(family.name)
    return groups


def _accuracy(
    name: str, pairs: Sequence[tuple[Sample, Score]], families: Sequence[str]
) -> Metric | None:
    """Unweighted mean of the accuracies of `families`; None if one of them has no scored answer.

    Chance is the same mean of 1 / number of choices.
    """
    mine = [pair for pair in pairs if pair[0].inputs["family"] in families]
    kept = [pair for pair in mine if pair[1].unscored is None]
    by_family = {
        family: [p for p in kept if p[0].inputs["family"] == family] for family in families
    }
    if not all(by_family.values()):
        return None
    chances = [
        sum(1 / len(sample.inputs["choices"]) for sample, _ in rows) / len(rows)
        for rows in by_family.values()
    ]
    return stats.macro_mean(
        [score.values["correct"] for _, score in kept],
        [sample.inputs["family"] for sample, _ in kept],
        [sample.cluster for sample, _ in kept],
    ).metric(name, unscored=len(mine) - len(kept), chance=sum(chances) / len(chances))
