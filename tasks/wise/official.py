"""`wise` and `wise-verified`: two protocols on two prompt lists, never mixed."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

from unimm_eval import stats
from unimm_eval.api import (
    Exhibit,
    Metric,
    Output,
    Picture,
    Sample,
    Score,
    TaskConfig,
    make_samples,
)
from unimm_eval.data import files_of, verify
from unimm_eval.judges import (
    JudgedConfig,
    JudgedTask,
    Question,
    labelled_digits,
    verdicts,
    without_thoughts,
)
from unimm_eval.tasks.drawing import DrawingConfig, DrawingTask
from unimm_eval.tasks.wise.instruction import Instruction, read_instruction
from unimm_eval.tasks.wise.records import group_of, read_records

WEIGHTS: Mapping[str, Mapping[str, float]] = {
    "legacy": {
        "culture": 0.4,
        "time": 0.167,
        "space": 0.133,
        "biology": 0.1,
        "physics": 0.1,
        "chemistry": 0.1,
    },
    "verified": {
        "culture": 0.4,
        "time": 0.12,
        "space": 0.12,
        "biology": 0.12,
        "physics": 0.12,
        "chemistry": 0.12,
    },
}
ASPECTS = {"Consistency": 0.7, "Realism": 0.2, "Aesthetic Quality": 0.1}
"""Weights of the three scores of the legacy protocol, each 0 to 2."""


class WiseConfig(DrawingConfig, JudgedConfig):
    """How pictures are drawn and who judges them."""


class _Wise(DrawingTask, JudgedTask):
    """What both protocols share. WISE fixes no generation settings, so they identify the row and
    not the protocol."""

    Config: ClassVar[type[TaskConfig]] = WiseConfig
    config: WiseConfig
    unpinned: ClassVar[frozenset[str]] = frozenset(WiseConfig.model_fields)
    variant: ClassVar[str]
    value: ClassVar[str]
    """Name of the number that metrics are means of."""

    def check(self) -> None:
        for file in files_of(self.card):
            verify(file, self.data_dir, task=self.card.name)
        _ = self._instruction

    @cached_property
    def _instruction(self) -> Instruction:
        (file,) = [file for file in files_of(self.card) if file.name.endswith(".py")]
        return read_instruction(file.path(self.data_dir))

    def samples(self) -> Iterator[Sample]:
        """A prompt each, the groups taking turns; the prompt is the cluster."""
        files = [file for file in files_of(self.card) if file.name.endswith(".json")]
        records = read_records([file.path(self.data_dir) for file in files], protocol=self.variant)
        return make_samples((record.model_dump(), record.Prompt) for record in records)

    def prompt_and_key(self, sample: Sample) -> tuple[str, str]:
        return sample.inputs["Prompt"], str(sample.inputs["prompt_id"])

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """One question a picture; an answer that is no verdict is asked for again, as released."""
        questions = []
        for sample, output in zip(samples, outputs, strict=True):
            system, parts = self._instruction.fill(sample.inputs, output.media["picture"])
            questions.append(
                Question(
                    key=(output.sample_id, output.repeat),
                    system=system,
                    parts=parts,
                    max_new_tokens=self.card.settings["max_tokens"],
                )
            )
        tries = self.card.settings["tries"]
        for verdict in verdicts(self.the_judge, questions, parse=self._read, tries=tries):
            sample_id, repeat = verdict.key
            yield Score(
                sample_id=sample_id,
                repeat=repeat,
                values=verdict.value or {},
                payload={"asked": list(verdict.asked)},
                unscored=verdict.reason or None,
                outage=verdict.outage,
            )

    @staticmethod
    @abstractmethod
    def _read(text: str) -> dict[str, float]:
        """The numbers in a judge's answer. Raises ValueError saying why there are none."""

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Means of groups, and their weighted mean, which is made of all of them or left out."""
        rows = [
            (group_of(sample.inputs["prompt_id"], protocol=self.variant) or "", sample, score)
            for sample, score in zip(samples, scores, strict=True)
        ]
        weights = WEIGHTS[self.variant]
        metrics = [self._metric("overall", rows, weights)]
        for group in weights:
            mine = [row for row in rows if row[0] == group]
            metrics.append(self._metric(group, mine, {group: 1.0}))
        return [metric for metric in metrics if metric is not None]

    def _metric(
        self,
        name: str,
        rows: Sequence[tuple[str, Sample, Score]],
        weights: Mapping[str, float],
    ) -> Metric | None:
        """Weighted mean over groups; None when one of them has no scored picture."""
        kept = [row for row in rows if row[2].unscored is None]
        if {group for group, _, _ in kept} != set(weights):
            return None
        estimate = stats.macro_mean(
            [score.values[self.value] for _, _, score in kept],
            [group for group, _, _ in kept],
            [sample.cluster for _, sample, _ in kept],
            weights=weights,
        )
        facts = self.judging_facts([score for _, _, score in rows])
        return estimate.metric(name, unscored=len(rows) - len(kept), facts=facts)

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """`{id}.png` as the released evaluator reads them, and `scores.jsonl` as it writes them."""
        lines = []
        for sample, output, score in rows:
            number = sample.inputs["prompt_id"]
            if "picture" in output.media:
                yield f"{number}.png", output.media["picture"]
            if score.unscored is None:
                kind = sample.inputs["Subcategory"]
                lines.append((number, {"prompt_id": number, "Subcategory": kind, **score.values}))
        text = "".join(f"{json.dumps(line)}\n" for _, line in sorted(lines, key=lambda row: row[0]))
        yield "scores.jsonl", text.encode()

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        return Exhibit(
            group=group_of(inputs["prompt_id"], protocol=self.variant) or "",
            prompt=inputs["Prompt"],
            expected=inputs["Explanation"],
            correct=self._correct(score),
            note=score.unscored or "",
            shown=dict(output.media),
            facts={"id": inputs["prompt_id"], **score.values},
        )

    def _correct(self, score: Score) -> bool | None:
        return None


class Wise(_Wise):
    """The first release: three scores from 0 to 2, weighted to WiScore."""

    variant = "legacy"
    value = "wiscore"

    @staticmethod
    def _read(text: str) -> dict[str, float]:
        found = labelled_digits(text, list(ASPECTS), largest=2)
        total = sum(weight * found[name] for name, weight in ASPECTS.items())
        named = {name.lower().replace(" ", "_"): float(score) for name, score in found.items()}
        return {**named, "wiscore": total / 2}


class WiseVerified(_Wise):
    """The second release: revised prompts, one score that is 0 or 1."""

    variant = "verified"
    value = "score"

    @staticmethod
    def _read(text: str) -> dict[str, float]:
        found = labelled_digits(without_thoughts(text), ["Score"], largest=1)
        return {"score": float(found["Score"])}

    def _correct(self, score: Score) -> bool | None:
        return None if score.unscored else score.values["score"] == 1.0
