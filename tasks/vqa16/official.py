"""The sixteen benchmarks by Cambrian's evaluation: `gqa`, `mme`, … by name, `vqa16` together."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    ChatRequest,
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    Task,
    TaskConfig,
    UserError,
    decode_picture,
    make_samples,
    stable_hash,
)
from unimm_eval.judges import JudgedConfig, JudgedTask, verdicts
from unimm_eval.judges import Question as Asked
from unimm_eval.tasks.vqa16.extraction import extraction, read_extracted
from unimm_eval.tasks.vqa16.graders import GRADERS, Grade
from unimm_eval.tasks.vqa16.pictures import RowPictures
from unimm_eval.tasks.vqa16.questions import READERS, BadRowError, unit_of
from unimm_eval.tasks.vqa16.rows import Opened, Source, open_hub, open_local
from unimm_eval.tasks.vqa16.summaries import SUMMARIES
from unimm_eval.tasks.vqa16.units import Question

Grading = Literal["released", "corrected"]
_NOTHING = {"question": "", "gold": {}, "category": "", "stratum": "", "grader": ""}
"""Of a row that could not be read."""


class CambrianConfig(TaskConfig):
    grading: Grading = Field(
        "released", description="corrected: without the defects of the released graders"
    )
    path: Path | None = Field(
        None, description="a copy of the data: a folder or file of Parquet, JSONL or CSV"
    )
    revision: str | None = Field(None, description="commit, branch or tag of the data on the hub")


class Cambrian(Task):
    """One of the sixteen. Its card says which: reader, grader, what is scored as one, the data."""

    Config: ClassVar[type[TaskConfig]] = CambrianConfig
    about_pictures: ClassVar[bool] = True
    config: CambrianConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path", "revision"})

    @cached_property
    def source(self) -> Source:
        return Source.model_validate(dict(self.card.data))

    @cached_property
    def _settings(self) -> Mapping[str, Any]:
        """The card's settings under the grading that was chosen."""
        return {**self.card.settings, "grading": self.config.grading}

    @cached_property
    def _opened(self) -> Opened:
        name = self.card.name
        if self.config.path is not None:
            path = self.config.path.expanduser()
            if not path.exists():
                raise UserError(
                    f"{path} is not there.", fix=f"Change it with --set {name}.path=FOLDER"
                )
            return open_local(self.source, path, task=name, data_dir=self.data_dir)
        return open_hub(
            self.source, task=name, data_dir=self.data_dir, revision=self.config.revision
        )

    @cached_property
    def _pictures(self) -> RowPictures:
        return RowPictures(self._opened, self.source)

    def check(self) -> None:
        """Open the data and read it once. Raises UserError naming what is missing."""
        columns = {*self.source.columns} - {self.source.picture}
        missing = sorted(columns - self._opened.rows.columns)
        if missing:
            raise UserError(
                f"The data of {self.card.name} lacks the columns {', '.join(missing)}.",
                fix=f"It has {', '.join(sorted(self._opened.rows.columns))}.",
            )
        _ = self._inputs

    @cached_property
    def _inputs(self) -> list[dict[str, Any]]:
        """What every sample is made of, questions about one picture next to each other."""
        rows = list(self._read())
        sizes = Counter(row["unit"] for row in rows)
        first: dict[str, int] = {}
        for row in rows:
            row["of"] = max(row["of"], sizes[row["unit"]])
            first.setdefault(row["picture"] or f"row {row['row']}", row["row"])
        return sorted(rows, key=lambda row: first[row["picture"] or f"row {row['row']}"])

    def _read(self) -> Iterator[dict[str, Any]]:
        """Inputs of samples, one a row that belongs to the benchmark; a bad row carries its
        `fault`."""
        reader, settings = READERS[self.card.name], self._settings
        for index, row in enumerate(self._opened.rows):
            if any(row.get(key) != value for key, value in self.source.where.items()):
                continue
            inputs: dict[str, Any] = {"row": index, "picture": None, "fault": "", **_NOTHING}
            try:
                reading = reader(row, index, settings)
                if reading is None:
                    continue
                inputs |= {
                    "question": reading.question,
                    "gold": reading.gold,
                    "category": reading.category,
                    "stratum": reading.stratum,
                    "grader": reading.grader or settings["grader"],
                }
                inputs["picture"] = self._pictures.digest(row)
                if inputs["picture"] is None:
                    inputs["fault"] = f"row {index}: it has no picture"
            except (BadRowError, UserError, TypeError) as error:
                inputs["fault"] = f"row {index}: {error}"
            inputs["unit"], inputs["of"] = unit_of(row, index, inputs["picture"], settings)
            yield inputs

    def data_identity(self) -> str:
        """The content of all rows, wherever they come from: equal rows, equal numbers."""
        return self._content

    @cached_property
    def _content(self) -> str:
        return stable_hash(self._inputs)

    def samples(self) -> Iterator[Sample]:
        """A question each; the cluster is its picture."""
        return make_samples((row, row["picture"] or f"row {row['row']}") for row in self._inputs)

    def generation(self) -> Mapping[str, Any]:
        """Nothing beyond the card: Cambrian fixes greedy decoding and the length of answers."""
        return {}

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """Answers; a row that is bad, or whose picture does not decode, is named in its output."""
        decoded: dict[str, Picture] = {}
        requests: list[ChatRequest] = []
        for item in items:
            inputs = item.sample.inputs
            fault = inputs["fault"]
            digest = str(inputs["picture"])
            if not fault and digest not in decoded:
                try:
                    decoded[digest] = Picture(array=self._decode(inputs))
                except PictureError as error:
                    fault = error.what
            if fault:
                yield Output(sample_id=item.sample.id, repeat=item.repeat, error=fault)
                continue
            requests.append(
                ChatRequest(
                    sample_id=item.sample.id,
                    repeat=item.repeat,
                    seed=item.seed,
                    parts=(decoded[digest], inputs["question"]),
                    max_new_tokens=self.card.settings["max_new_tokens"],
                    temperature=float(self.card.settings["temperature"]),
                )
            )
        if requests:
            for request, answer in zip(requests, model.generate_text(requests), strict=True):
                yield Output(
                    sample_id=request.sample_id, repeat=request.repeat, values={"answer": answer}
                )

    def _decode(self, inputs: Mapping[str, Any]) -> np.ndarray:
        """Raises PictureError naming the row."""
        name = f"row {inputs['row']}"
        try:
            data = self._pictures.data(inputs["row"])
        except (UserError, TypeError) as error:
            raise PictureError(f"{name}: {error}") from error
        if data is None:
            raise PictureError(f"{name}: it has no picture")
        return decode_picture(data, name=name)

    def _grade(self, sample: Sample, answer: str) -> Grade:
        grader = GRADERS[sample.inputs["grader"]]
        return grader(answer.strip(), sample.inputs["gold"], self.config.grading == "corrected")

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """By rule alone; an answer that the rule cannot read is wrong."""
        for sample, output in zip(samples, outputs, strict=True):
            yield self._score(output, self._grade(sample, output.values["answer"]))

    @staticmethod
    def _score(output: Output, grade: Grade, **more: Any) -> Score:
        answer = output.values["answer"].strip()
        payload = {"said": grade.said[:200], "stray": grade.stray, "empty": not answer, **more}
        return Score(
            sample_id=output.sample_id,
            repeat=output.repeat,
            values={"score": grade.value},
            payload=payload,
        )

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """As the card's `unit` says; see `summaries`."""
        questions = [
            Question(
                value=None if score.unscored is not None else score.values["score"],
                cluster=sample.cluster,
                unit=sample.inputs["unit"],
                of=sample.inputs["of"],
                stratum=sample.inputs["stratum"],
                chance=_chance(sample.inputs),
            )
            for sample, score in zip(samples, scores, strict=True)
        ]
        summary = SUMMARIES[self.card.settings["unit"]]
        facts = {**self._data_facts(), **_faults(samples, scores), **self._more_facts(scores)}
        categories = [sample.inputs["category"] for sample in samples]
        return summary(questions, categories, self.card.settings, facts)

    def data_revision(self) -> Mapping[str, str]:
        revision = self._opened.revision
        return {} if revision is None else {revision.repository: revision.commit}

    def _data_facts(self) -> dict[str, Any]:
        """Which rows were measured."""
        revision = self._opened.revision
        if revision is None:
            return {"data": f"a copy, content {self.data_identity()}"}
        facts = {"data": f"{revision.repository}@{revision.commit}"}
        if revision.moved_to:
            facts["revision_moved_to"] = revision.moved_to
        return facts

    def _more_facts(self, scores: Sequence[Score]) -> dict[str, Any]:
        return {}

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        inputs = sample.inputs
        gold = inputs["gold"]
        right = gold.get("letter") or gold.get("answer") or gold.get("answers", "")
        fault = inputs["fault"] or output.error
        return Exhibit(
            group=inputs["category"] or self.card.name,
            prompt=inputs["question"],
            answer=str(output.values.get("answer", "")),
            expected=right if isinstance(right, str) else " | ".join(dict.fromkeys(right)),
            correct=None if score.unscored else score.values["score"] >= 0.5,
            note=score.unscored or "",
            shown={} if fault else {"picture": _Lazily(read=lambda: self._decode(inputs))},
            facts={"row": inputs["row"], "read as": score.payload.get("said", "")},
        )


class JudgedCambrianConfig(CambrianConfig, JudgedConfig):
    pass


class JudgedCambrian(Cambrian, JudgedTask):
    """One whose corrected grading hands what is no plain answer to a judge, if one is named.

    Without a judge such an answer is unscored: which option a sentence chooses is not guessed. The
    released grading asks nobody.
    """

    Config: ClassVar[type[TaskConfig]] = JudgedCambrianConfig
    config: JudgedCambrianConfig
    unpinned: ClassVar[frozenset[str]] = Cambrian.unpinned | JudgedTask.unpinned
    judge_is_optional: ClassVar[bool] = True

    @property
    def wants_judge(self) -> bool:
        return self.config.grading == "corrected" and super().wants_judge

    def judge_identity(self) -> str:
        if self.judged_by is None:
            return Task.judge_identity(self)
        return super().judge_identity()

    def questions_about(self, sample: Sample) -> int:
        return 0  # how many answers are no plain ones is not known before they are there

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """By rule where the rule can read the answer, else by what the judge extracts from it."""
        waiting: dict[tuple[str, int], tuple[Sample, Output]] = {}
        for sample, output in zip(samples, outputs, strict=True):
            grade = self._grade(sample, output.values["answer"])
            asks = self.config.grading == "corrected" and grade.unread
            if asks and output.values["answer"].strip():
                waiting[output.sample_id, output.repeat] = sample, output
            else:
                yield self._score(output, grade)
        if self.judged_by is None:
            for _, output in waiting.values():
                yield Score(
                    sample_id=output.sample_id,
                    repeat=output.repeat,
                    unscored="the answer is a sentence and no judge is named",
                )
            return
        asked = [
            Asked(
                key=key,
                parts=(extraction(sample.inputs, output.values["answer"]),),
                max_new_tokens=self.card.settings["max_tokens"],
            )
            for key, (sample, output) in waiting.items()
        ]
        tries = self.card.settings["tries"]
        for verdict in verdicts(self.judged_by, asked, parse=read_extracted, tries=tries):
            sample, output = waiting[verdict.key]
            if verdict.value is None:
                yield Score(
                    sample_id=output.sample_id,
                    repeat=output.repeat,
                    payload={"asked": list(verdict.asked)},
                    unscored=verdict.reason,
                    outage=verdict.outage,
                )
            else:
                grade = self._grade(sample, verdict.value)
                yield self._score(output, grade, asked=list(verdict.asked))

    def _more_facts(self, scores: Sequence[Score]) -> dict[str, Any]:
        return {} if self.judged_by is None else self.judging_facts(scores)


@dataclass(frozen=True, kw_only=True)
class _Lazily(Picture):
    """A picture that is decoded when it is looked at: a report shows a few of many thousands."""

    read: Callable[[], np.ndarray]

    def load(self) -> np.ndarray:
        return self.read()


def _chance(inputs: Mapping[str, Any]) -> float | None:
    """What a uniform guess among the options scores; of open questions nothing is known."""
    if inputs["grader"] == "yes_no":
        return 0.5
    options = inputs["gold"].get("options")
    return 1 / len(options) if options else None


def _faults(samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Any]:
    """Counts of what was odd, where there is any: bad rows by reason, empty and stray answers."""
    reasons = Counter(
        (sample.inputs["fault"] or score.unscored or "").partition(": ")[2]
        for sample, score in zip(samples, scores, strict=True)
        if score.unscored is not None and (score.unscored or "").startswith("row ")
    )
    counts = {
        "bad_rows": dict(reasons.most_common(10)),
        "empty_answers": sum(bool(score.payload.get("empty")) for score in scores),
        "answers_that_name_no_option": sum(bool(score.payload.get("stray")) for score in scores),
    }
    return {name: count for name, count in counts.items() if count}
