"""Any generation task of lmms-eval, asked by our engine and graded by lmms-eval itself."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import (
    ChatRequest,
    Context,
    Exhibit,
    Item,
    Metric,
    MetricSpec,
    Output,
    Picture,
    Sample,
    Score,
    TaskConfig,
    make_samples,
    stable_hash,
)
from unimm_eval.judges import JudgedConfig, JudgedTask
from unimm_eval.tasks.lmms.child import Evaluator, Opened, Revisions
from unimm_eval.tasks.lmms.errors import GROUPS, metric
from unimm_eval.tasks.lmms.grading import graded

_DEFAULT_TOKENS = 128
_AT_ONCE = 256
_TIME = re.compile(r"_?\d{4}-\d\d-\d\d(-\d\d){3}")


class LmmsConfig(JudgedConfig):
    path: Path | None = Field(
        None, description="folder with a copy of the data set's repository, or of one a task"
    )
    revision: str | None = Field(
        None, description="commit of the data set; null: the one that was used first"
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="length of an answer; null: the benchmark's own, or 128"
    )


class LmmsTask(JudgedTask):
    """A task of lmms-eval. A judge is asked where its grader asks one; without a judge those
    answers are unscored."""

    Config: ClassVar[type[TaskConfig]] = LmmsConfig
    about_pictures: ClassVar[bool] = True
    config: LmmsConfig
    judge_is_optional: ClassVar[bool] = True
    unpinned: ClassVar[frozenset[str]] = JudgedTask.unpinned | {"path", "revision"}
    _evaluator: Evaluator | None = None
    _submissions: Mapping[str, bytes] = {}

    @property
    def lmms_task(self) -> str:
        return str(self.card.settings.get("task") or self.card.name.removeprefix("lmms:"))

    def check(self) -> None:
        """Open the task once: its data must be there, its kind one that can be driven."""
        _ = self._opened

    @cached_property
    def _opened(self) -> Opened:
        opened = self._opened_evaluator().opened
        if self.config.path is None and self.config.revision is None:
            Revisions(self.data_dir).keep(opened.revisions)
        if "task" not in self.card.settings:
            specs = {
                name: MetricSpec(direction="higher" if higher else "lower", range=(None, None))
                for name, higher in opened.metrics.items()
            }
            self.card = self.card.model_copy(update={"metrics": specs})
        return opened

    def _opened_evaluator(self) -> Evaluator:
        if self._evaluator is None:
            before: Opened | None = self.__dict__.get("_opened")
            self._evaluator = Evaluator(
                task=self.lmms_task,
                source=self._source(),
                revision=self.config.revision if before is None else None,
                revisions=before.revisions if before else Revisions(self.data_dir).read(),
                settled=before is not None,
            )
        return self._evaluator

    def _source(self) -> Path | None:
        """The folder of this task's data: of several, the one that has its name."""
        if self.config.path is None:
            return None
        path = self.config.path.expanduser()
        named = [path / self.card.name, path / self.card.name.removesuffix(":lmms")]
        return next((folder for folder in named if folder.is_dir()), path)

    def samples(self) -> Iterator[Sample]:
        """A document each; the cluster is its pictures, or the document where it has none."""
        try:
            rows = self._opened_evaluator().rows()
            yield from make_samples((row, row.pop("cluster")) for row in rows)
        finally:
            self._close()

    def generation(self) -> Mapping[str, Any]:
        given = dict(self._opened.generation)
        asked = self.config.max_new_tokens or given["max_new_tokens"] or _DEFAULT_TOKENS
        return {**given, "max_new_tokens": asked}

    def data_identity(self) -> str:
        """The data by its commits or files, prompts and grader by the code."""
        opened = self._opened
        return stable_hash([opened.lmms_eval, opened.grader, sorted(opened.revisions.items())])

    def data_revision(self) -> Mapping[str, str]:
        return self._opened.revisions

    def questions_about(self, sample: Sample) -> int:
        """At most one, where a judge is named: how many answers need one shows with them."""
        return int(self.wants_judge)

    def judge_identity(self) -> str:
        """The judge belongs to it only where one is named: most graders ask none."""
        if self.config.judge is None and self.judged_by is None:
            return f"{self.card.protocol}@{self.card.version}"
        return super().judge_identity()

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        questions = self._opened_evaluator().questions(
            [item.sample.inputs["row"] for item in items]
        )
        fine = []
        for item, question in zip(items, questions, strict=True):
            if reason := question.get("error"):
                yield Output(sample_id=item.sample.id, repeat=item.repeat, error=reason)
            else:
                fine.append((item, question["parts"]))
        generation = self.generation()
        requests = [
            ChatRequest(
                sample_id=item.sample.id,
                repeat=item.repeat,
                seed=item.seed,
                parts=tuple(_part(part) for part in parts),
                stop=tuple(generation["stop"]),
                max_new_tokens=generation["max_new_tokens"],
                temperature=generation["temperature"],
                top_p=generation["top_p"],
            )
            for item, parts in fine
        ]
        answers = model.generate_text(requests) if requests else []
        for (item, _), answer in zip(fine, answers, strict=True):
            yield Output(sample_id=item.sample.id, repeat=item.repeat, values={"answer": answer})
        for path in {part["picture"] for _, parts in fine for part in parts if "picture" in part}:
            Path(path).unlink(missing_ok=True)

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """By lmms-eval's grader, in a process that has judged nothing before."""
        self._close()
        evaluator = self._opened_evaluator()
        judge = self.judged_by
        for start in range(0, len(outputs), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            yield from graded(
                evaluator, samples[some], outputs[some], judge=judge, fix=self.judge_hint()
            )

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """lmms-eval's aggregates of all that has a score, and what was odd, by kind."""
        evaluator = self._opened_evaluator()
        rows = [
            {
                "row": sample.inputs["row"],
                "cluster": sample.cluster,
                "metrics": score.payload.get("metrics") or {},
                "decided": score.unscored is None,
                "replies": score.payload.get("replies", {}),
            }
            for sample, score in zip(samples, scores, strict=True)
        ]
        found = evaluator.aggregate(rows, groups=GROUPS)
        self._submissions = evaluator.submissions()
        self._close()
        unscored = sum(score.unscored is not None for score in scores)
        facts = {**self._facts(scores), "data": dict(self._opened.revisions)}
        return [
            metric(name, found[name], unscored=unscored, facts=facts)
            for name in self.card.metrics
            if name in found
        ]

    def _facts(self, scores: Sequence[Score]) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if self.judged_by is not None:
            facts = self.judging_facts(scores)
        notes = Counter(note for score in scores for note in score.payload.get("notes", ()))
        reasons = Counter(kind_of(score.unscored) for score in scores if score.unscored)
        if notes:
            facts["odd_answers"] = dict(sorted(notes.items()))
        if reasons:
            facts["unscored_because"] = dict(sorted(reasons.items()))
        if self._opened.moved:
            facts["data_moved_to"] = dict(self._opened.moved)
        return facts

    def _close(self) -> None:
        if self._evaluator is not None:
            self._evaluator.close()
            self._evaluator = None

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        value = next(iter(score.values.values()), None)
        return Exhibit(
            group=self.lmms_task,
            prompt=sample.inputs["prompt"],
            answer=str(output.values.get("answer", "")),
            expected=str(score.payload.get("expected", "")),
            correct=bool(value) if value in (0.0, 1.0) else None,
            note="; ".join([*score.payload.get("notes", ()), score.unscored or ""]).strip("; "),
            facts={"row": sample.inputs["row"], **score.values},
        )

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """The files that lmms-eval's aggregators write, for submission; no time in their names."""
        for name, data in self._submissions.items():
            yield _TIME.sub("", name), data


def kind_of(reason: str) -> str:
    """A reason without what is particular to its row."""
    return re.sub(r"^row \d+: ", "", reason)[:120]


def _part(part: Mapping[str, str]) -> str | Picture:
    return part["text"] if "text" in part else Picture(path=Path(part["picture"]))
