"""`vqa16:mini`: sixteen families of questions about the embedded world, each graded by the rules of
the benchmark whose skill it asks for."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import Field

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
from unimm_eval.tasks.vqa16.graders import GRADERS
from unimm_eval.tasks.vqa16.mini_rules import RULES, Graded, gold_of
from unimm_eval.tasks.vqa16.mini_summary import Family, summarize_families

_MAX_INDEX = 2000  # where a family's questions are looked for


class Vqa16MiniConfig(TaskConfig):
    questions: int = Field(
        40, ge=2, description="questions a family, like those of training; of pairs half as many"
    )
    held_out_questions: int = Field(
        16, ge=0, description="questions a family on pictures that show what training lacks"
    )
    swap_pictures: bool = Field(
        False, description="ask each question about another question's picture, to see it matter"
    )


class Vqa16Mini(Task):
    """Mean over sixteen families of questions on the embedded world."""

    Config: ClassVar[type[TaskConfig]] = Vqa16MiniConfig
    about_pictures: ClassVar[bool] = True
    config: Vqa16MiniConfig

    def samples(self) -> Iterator[Sample]:
        """Questions with the description of their picture, the families taking turns, whole units
        (pairs, the four rotations of a question) next to each other, those on held-out pictures
        last. Families of single questions come first, so that the first sample is a unit and the
        first 21 samples already have a mean.

        The cluster is the picture, or the pair of pictures that differ in one attribute.
        """
        from itertools import chain, zip_longest

        from unimm_eval.world import FAMILIES

        names = sorted(FAMILIES, key=lambda name: RULES[name].of)
        turns = zip_longest(*(self._family(name) for name in names))
        units = (unit for unit in chain.from_iterable(turns) if unit is not None)
        return make_samples(row for unit in units for row in unit)

    def _family(self, family: str) -> list[list[tuple[dict[str, Any], str]]]:
        """Units of a family, each a list of (inputs, cluster)."""
        rule = RULES[family]
        share = 2 if rule.paired else 1
        left = {
            False: self.config.questions // share,
            True: self.config.held_out_questions // share,
        }
        found: dict[bool, list[list[dict[str, Any]]]] = {False: [], True: []}
        for index in range(_MAX_INDEX):
            unit = rule.unit(index)
            held_out = unit[0].held_out
            if left[held_out]:
                left[held_out] -= 1
                name = f"{family} {index}"
                found[held_out].append(
                    [{**question.to_json(), "unit": name, "of": len(unit)} for question in unit]
                )
            if not any(left.values()):
                break
        else:
            raise ValueError(f"{family}: too few questions among the first {_MAX_INDEX}")
        chosen = found[False] + found[True]
        if self.config.swap_pictures:
            # Half the list away: never its own picture, nor that of its pair.
            half = len(chosen) // 2
            others = chosen[half:] + chosen[:half]
            chosen = [
                [
                    {**row, "picture": shown["picture"]}
                    for row, shown in zip(unit, other, strict=True)
                ]
                for unit, other in zip(chosen, others, strict=True)
            ]
        return [[(row, self._cluster(row)) for row in unit] for unit in chosen]

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
        """By the corrected rule of the benchmark: the world has none of its defects."""
        for sample, output in zip(samples, outputs, strict=True):
            grader = GRADERS[RULES[sample.inputs["family"]].grader]
            answer = output.values["answer"].strip()
            grade = grader(answer, gold_of(sample.inputs), True)
            yield Score(
                sample_id=output.sample_id,
                repeat=output.repeat,
                values={"correct": grade.value},
                payload={"said": grade.said[:200]},
            )

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """The mean of sixteen, its four groups and sixteen families; held-out pictures apart.

        A mean is made only of all its families: one that is missing (under `limit`, or with no
        scored answer) leaves it out.
        """
        graded = [
            Graded(
                inputs=sample.inputs,
                cluster=sample.cluster,
                value=None if score.unscored is not None else score.values["correct"],
                said=score.payload.get("said", ""),
            )
            for sample, score in zip(samples, scores, strict=True)
        ]
        return summarize_families(graded, _families())

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        return Exhibit(
            group=inputs["family"],
            prompt=inputs["question"],
            answer=str(output.values.get("answer", "")),
            expected=inputs["answer"],
            correct=None if score.unscored else score.values["correct"] >= 0.5,
            note=score.unscored or "",
            shown={"picture": picture_of(sample)},
            facts={"choices": ", ".join(inputs["choices"]), "held out": inputs["held_out"]},
        )


def picture_of(sample: Sample) -> Picture:
    """The picture of a sample, drawn from its description."""
    from unimm_eval.world import picture_from_json, render

    return Picture(array=render(picture_from_json(sample.inputs["picture"])))


def _families() -> list[Family]:
    from unimm_eval.world import FAMILIES

    return [Family(name=family.name, group=family.group) for family in FAMILIES.values()]
