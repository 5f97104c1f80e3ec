"""From answers to scores: lmms-eval grades, and where its grader asks a judge, ours answers."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unimm_eval.api import Output, Picture, Sample, Score, decode_picture
from unimm_eval.judges import Judge, Question, verdicts
from unimm_eval.tasks.lmms.child import Evaluator

_ROUNDS = 8
"""A grader that has asked so often about one answer asks without end."""


@dataclass(kw_only=True)
class _Case:
    """One answer on its way to a score."""

    row: int
    output: Output
    replies: dict[str, str] = field(default_factory=dict)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)

    def score(self, *, unscored: str | None = None, outage: bool = False) -> Score:
        payload = {
            name: self.found[name]
            for name in ("metrics", "notes", "expected")
            if self.found.get(name)
        }
        if self.replies:
            payload["replies"] = self.replies
        if self.asked:
            payload["asked"] = self.asked
        return Score(
            sample_id=self.output.sample_id,
            repeat=self.output.repeat,
            values={} if unscored else self.found["values"],
            payload=payload,
            unscored=unscored,
            outage=outage,
        )


def graded(
    evaluator: Evaluator,
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    *,
    judge: Judge | None,
    fix: str,
) -> Iterator[Score]:
    """One score an output. `fix` is how a judge is named."""
    cases = [
        _Case(row=sample.inputs["row"], output=output)
        for sample, output in zip(samples, outputs, strict=True)
    ]
    for _ in range(_ROUNDS):
        asking = []
        for case in _judged(evaluator, cases):
            if "asks" not in case.found:
                yield case.score(unscored=case.found.get("unscored"))
            elif judge is None:
                yield case.score(unscored=f"it takes a judge, and none is named ({fix})")
            else:
                asking.append(case)
        cases = []
        if judge is not None and asking:
            for case, score in _replied(judge, asking):
                if score is None:
                    cases.append(case)
                else:
                    yield score
    for case in cases:
        yield case.score(unscored=f"the grader asked a judge more than {_ROUNDS} times")


def _judged(evaluator: Evaluator, cases: Sequence[_Case]) -> Iterator[_Case]:
    answers = [
        {"row": case.row, "text": case.output.values["answer"], "replies": case.replies}
        for case in cases
    ]
    for case, found in zip(cases, evaluator.judge(answers) if answers else (), strict=True):
        case.found = found
        yield case


def _replied(judge: Judge, cases: Sequence[_Case]) -> Iterator[tuple[_Case, Score | None]]:
    """Each case with its reply, or with its score where there is none."""
    by_key = {(case.output.sample_id, case.output.repeat): case for case in cases}
    questions = [_question(key, case.found["asks"]) for key, case in by_key.items()]
    for verdict in verdicts(judge, questions, parse=_said, tries=1):
        case = by_key[verdict.key]
        case.asked += verdict.asked
        if verdict.value is None:
            yield case, case.score(unscored=verdict.reason, outage=verdict.outage)
        else:
            case.replies[case.found["asks"]["key"]] = verdict.value
            yield case, None


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _question(key: tuple[str, int], asks: Mapping[str, Any]) -> Question:
    """A chat completion's messages as one question."""
    system: list[str] = []
    parts: list[str | Picture] = []
    for message in asks["messages"]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if message["role"] == "system":
            system += [part["text"] for part in content]
        else:
            parts += [_part(part) for part in content]
    return Question(
        key=key,
        system="\n\n".join(system),
        parts=tuple(parts),
        max_new_tokens=asks["max_tokens"],
    )


def _part(part: Mapping[str, Any]) -> str | Picture:
    if part["type"] == "text":
        return str(part["text"])
    url = part["image_url"]
    data = str(url["url"] if isinstance(url, Mapping) else url).partition("base64,")[2]
    return Picture(array=decode_picture(base64.b64decode(data), name="a grader's picture"))
