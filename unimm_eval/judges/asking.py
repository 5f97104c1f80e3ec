"""From questions to verdicts: an answer that cannot be read is asked for again, then unscored."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from unimm_eval.judges.contract import Answer, Judge, Question

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Verdict(Generic[T]):
    """What a judge decided on a question: `value`, or the `reason` why there is none.

    `asked` are the logs of all answers that were read for it, the last one last.
    """

    key: Any
    value: T | None = None
    reason: str = ""
    outage: bool = False
    asked: tuple[Mapping[str, Any], ...] = ()


def verdicts(
    judge: Judge,
    questions: Iterable[Question],
    *,
    parse: Callable[[str], T],
    tries: int,
) -> Iterator[Verdict[T]]:
    """One verdict a question, in any order.

    `parse` turns the text of an answer into a value or raises ValueError saying what is wrong with
    it. A question whose answer cannot be read is asked up to `tries` times, where asking again can
    help. Only the text of an answer is read, so nothing that a picture or a prompt says reaches
    `parse` but through what the judge writes.
    """
    before: dict[Any, tuple[Mapping[str, Any], ...]] = {}
    asked = list(questions)
    for left in reversed(range(tries if judge.varies else 1)):
        by_key = {question.key: question for question in asked}
        again: list[Question] = []
        for answer in judge.answers(asked):
            logs = (*before.get(answer.key, ()), answer.log)
            verdict = _read(answer, logs, parse)
            unread = answer.text is not None and verdict.value is None
            if left and unread:
                before[answer.key] = logs
                again.append(by_key[answer.key])
            else:
                yield verdict
        asked = again


def _read(
    answer: Answer, logs: tuple[Mapping[str, Any], ...], parse: Callable[[str], T]
) -> Verdict[T]:
    if answer.text is None:
        return Verdict(key=answer.key, reason=answer.error, outage=answer.outage, asked=logs)
    try:
        return Verdict(key=answer.key, value=parse(answer.text), asked=logs)
    except ValueError as error:
        return Verdict(key=answer.key, reason=f"the judge's answer {error}", asked=logs)
