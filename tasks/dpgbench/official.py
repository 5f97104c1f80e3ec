"""`dpgbench`: 1,065 long prompts, each with questions that a judge answers about four pictures."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby, zip_longest
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from unimm_eval.api import (
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    TaskConfig,
    UserError,
    encode_png,
    make_samples,
)
from unimm_eval.data import files_of, verify
from unimm_eval.judges import JudgedConfig, JudgedTask, verdicts, yes_or_no
from unimm_eval.judges import Question as Asked
from unimm_eval.tasks.dpgbench.aggregate import Judged, categories, of_no_category, overall
from unimm_eval.tasks.dpgbench.files import read_prompts, read_questions
from unimm_eval.tasks.dpgbench.graph import Question, faults_of, released_questions
from unimm_eval.tasks.dpgbench.grids import cell_of, grid_of
from unimm_eval.tasks.dpgbench.scoring import Tally, whole_prompts
from unimm_eval.tasks.drawing import GENERATION, DrawingConfig, DrawingTask

PICTURES = 4
"""Of a prompt: as many as a grid holds."""


class DPGBenchConfig(DrawingConfig, JudgedConfig):
    judge: str | None = Field(
        "mplug", description="who judges: mplug, openai:MODEL@URL, or a model as given to --model"
    )
    protocol: Literal["corrected", "released"] = Field(
        "corrected", description="released: with the defects of the released code"
    )
    images_per_prompt: int = Field(PICTURES, ge=1, le=PICTURES, description="pictures of a prompt")
    resolution: int | None = Field(
        None, ge=1, description="side of a picture in pixels, where four come in one file"
    )


@runtime_checkable
class _OneFile(Protocol):
    """Pictures that can come in one file a prompt, as `images:` reads them."""

    def single(self, key: str) -> Picture | None:
        """None where the prompt's pictures are files of their own. Raises PictureError."""


class DPGBench(DrawingTask, JudgedTask):
    """Whether pictures show what long prompts say, by questions that depend on each other."""

    Config: ClassVar[type[TaskConfig]] = DPGBenchConfig
    config: DPGBenchConfig
    unpinned: ClassVar[frozenset[str]] = (
        frozenset(JudgedConfig.model_fields) | GENERATION | {"resolution"}
    )

    def judge_hint(self) -> str:
        name = f"--set {self.card.name}.judge"
        return f"{name}=mplug, the official one, or {name}=openai:MODEL@https://SERVER/v1"

    def questions_about(self, sample: Sample) -> int:
        questions, faults = self._asked_of(sample)
        return 0 if faults else len(questions)

    def judge_identity(self) -> str:
        return f"{super().judge_identity()} {self.config.protocol}"

    def check(self) -> None:
        """Raise one UserError for all files that are missing, else for the first that is wrong."""
        problems: list[UserError] = []
        for file in files_of(self.card):
            try:
                verify(file, self.data_dir, task=self.card.name)
            except UserError as error:
                problems.append(error)
        if problems:
            raise UserError(
                "\n".join(error.what for error in problems),
                fix="\n".join(dict.fromkeys(error.fix for error in problems)),
            )
        _ = self._prompts, self._questions

    @cached_property
    def _prompts(self) -> dict[str, str]:
        archive, _ = files_of(self.card)
        data = self.card.data
        path = archive.path(self.data_dir)
        return read_prompts(path, tree=data["prompts_tree"], count=data["prompts"])

    @cached_property
    def _questions(self) -> dict[str, list[Question]]:
        _, table = files_of(self.card)
        return read_questions(table.path(self.data_dir))

    def samples(self) -> Iterator[Sample]:
        """The prompts with their questions, the sources taking turns so that under `limit` each has
        some; `key` is the name of the prompt's file, and the cluster."""
        columns = groupby(sorted(self._prompts, key=_by_source), key=lambda key: _by_source(key)[0])
        turns = chain.from_iterable(zip_longest(*(list(keys) for _, keys in columns)))
        rows = (
            {"key": key, "prompt": self._prompts[key], "questions": self._questions.get(key, [])}
            for key in turns
            if key is not None
        )
        return make_samples(
            ((row, str(row["key"])) for row in rows), repeats=self.config.images_per_prompt
        )

    def generation(self) -> Mapping[str, Any]:
        return {**super().generation(), "resolution": self.config.resolution}

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        """Pictures, cut out of a prompt's one file where the model has such."""
        asked = []
        grids: dict[str, np.ndarray] = {}
        for item in items:
            ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
            key = item.sample.inputs["key"]
            try:
                if key not in grids:
                    file = model.single(key) if isinstance(model, _OneFile) else None
                    if file is None:
                        asked.append(item)
                        continue
                    grids[key] = file.load()
                array = self._cell(grids[key], item.repeat, name=f"of {key}")
            except PictureError as error:
                yield Output(**ids, error=error.what)
            else:
                yield Output(**ids, media={"picture": Picture(array=array)})
        if asked:
            yield from super().produce(model, asked, ctx)

    def _cell(self, array: np.ndarray, repeat: int, *, name: str) -> np.ndarray:
        """A picture out of a prompt's one file, which of a single picture may be that picture."""
        side = self.config.resolution
        if self.config.images_per_prompt == 1 and (side is None or array.shape[:2] == (side, side)):
            return array
        if side is None:
            height, width = array.shape[:2]
            raise UserError(
                f"There is one file a prompt, the first of {width} × {height} pixels. Is it one "
                "picture or a grid of four?",
                fix=f"Say how large a picture in the grid is: --set {self.card.name}.resolution="
                f"{width // 2}. For one picture a prompt: "
                f"--set {self.card.name}.images_per_prompt=1",
            )
        return cell_of(array, repeat, side=side, name=name)

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """All questions of a picture; its score as soon as the last one is answered."""
        tallies: dict[tuple[str, int], Tally] = {}
        pictures: dict[tuple[str, int], Picture] = {}
        for sample, output in zip(samples, outputs, strict=True):
            questions, faults = self._asked_of(sample)
            reason = output.error
            if faults:
                reason = f"prompt {sample.inputs['key']}: {'; '.join(faults)}"
            if reason is not None:
                yield Score(sample_id=output.sample_id, repeat=output.repeat, unscored=reason)
                continue
            released = self.config.protocol == "released"
            tallies[output.sample_id, output.repeat] = Tally(questions=questions, released=released)
            pictures[output.sample_id, output.repeat] = output.media["picture"]
        settings = self.card.settings
        asked = (
            Asked(
                key=(sample_id, repeat, question["id"]),
                system=settings["instruction"],
                parts=(pictures[sample_id, repeat], question["question"]),
                max_new_tokens=settings["max_tokens"],
            )
            for (sample_id, repeat), tally in tallies.items()
            for question in tally.questions
        )
        for verdict in verdicts(self.the_judge, asked, parse=yes_or_no, tries=settings["tries"]):
            sample_id, repeat, number = verdict.key
            tally = tallies[sample_id, repeat]
            tally.add(number, verdict)
            if tally.complete:
                yield tally.score(sample_id, repeat)
                del tallies[sample_id, repeat]

    def _asked_of(self, sample: Sample) -> tuple[list[Question], list[str]]:
        """(questions, why the prompt cannot be scored) under the protocol."""
        questions: list[Question] = sample.inputs["questions"]
        if self.config.protocol == "released":
            left = released_questions(questions)
            return left, [] if left else ["the released code has no question about it"]
        return questions, faults_of(questions)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Overall, five broad categories, twelve detailed ones.

        Released: a prompt counts whole or not at all, and categories are those of its last picture.
        """
        pictures = [
            Judged(
                cluster=sample.cluster,
                questions=self._asked_of(sample)[0],
                answers={int(key): value for key, value in _answers(score).items()},
                score=None if score.unscored else score.values["score"],
            )
            for sample, score in zip(samples, scores, strict=True)
        ]
        shown = pictures
        if self.config.protocol == "released":
            pictures = whole_prompts(pictures)
            shown = list({each.cluster: each for each in pictures}.values())
        facts = {**self.judging_facts(scores), "protocol": self.config.protocol}
        total = overall("overall", pictures, facts={**facts, **self._left_over(samples)})
        found = categories(shown, facts=facts)
        return found if total is None else [total, *found]

    def _left_over(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What of the table is in no number, as far as there is any."""
        by_key = {sample.inputs["key"]: sample.inputs["questions"] for sample in samples}
        uncategorized = of_no_category(chain.from_iterable(by_key.values()))
        strangers = sorted(self._questions.keys() - self._prompts.keys())
        found = {"questions_of_no_category": uncategorized, "items_without_prompt": strangers}
        return {name: value for name, value in found.items() if value}

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        answers = _answers(score)
        said = {True: "yes", False: "no", None: "no answer"}
        return Exhibit(
            group=_by_source(sample.inputs["key"])[0],
            prompt=sample.inputs["prompt"],
            note=score.unscored or f"score {score.values['score']:.3f}",
            shown=dict(output.media),
            facts={
                question["question"]: said[answers[str(question["id"])]]
                for question in self._asked_of(sample)[0]
                if str(question["id"]) in answers
            },
        )

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """The official files: a grid a prompt, and `results.txt` with a line a prompt: its file,
        the score of each picture, their mean. Prompts that lack a picture or a score are in
        `unscored.jsonl`, with the reason."""
        lines: dict[str, list[str]] = {"results.txt": [], "unscored.jsonl": []}
        for key, group in groupby(rows, key=lambda row: row[0].inputs["key"]):
            mine = list(group)
            name = f"{key}.png"
            reasons = [score.unscored for _, _, score in mine if score.unscored]
            try:
                arrays = [output.media["picture"].load() for _, output, _ in mine if output.media]
                if len(arrays) == len(mine):
                    yield name, encode_png(grid_of(arrays))
            except (PictureError, ValueError) as error:
                reasons.append(str(error))
            if reasons:
                row = {"filename": name, "unscored": list(dict.fromkeys(reasons))}
                lines["unscored.jsonl"].append(json.dumps(row))
            else:
                scores = [score.values["score"] for _, _, score in mine]
                numbers = [*scores, sum(scores) / len(scores)]
                lines["results.txt"].append(", ".join([name, *map(str, numbers)]))
        for name, text in lines.items():
            if text:
                yield name, "".join(f"{line}\n" for line in text).encode()


def _answers(score: Score) -> Mapping[str, bool | None]:
    answers: Mapping[str, bool | None] = score.payload.get("answers", {})
    return answers


def _by_source(key: str) -> tuple[str, int]:
    """("partiprompts", 97) of "partiprompts97"; what is only a number is of source ""."""
    digits = re.search(r"[0-9]*$", key)
    assert digits is not None
    return key[: digits.start()], int(digits[0] or 0)
