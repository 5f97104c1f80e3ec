"""MMBench's grader, which asks a server while it aggregates, and guesses; runs in the child.

A question is asked four times with its options rotated and counts when all four are right. Answers
that name no option are read by a judge. Where there is none, or what it says names no option
either, lmms-eval draws one at random; here the row is undecided, and its question too unless
another of its four is wrong, which settles it without a judge.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from unimm_eval.tasks.lmms.answering import NoDice

METRIC = "gpt_eval_score"
_ROTATION = 1_000_000
"""Rotated rows of question i have the indices i + 1,000,000 and so on."""


def evaluator_of(task: Any) -> Any | None:
    """lmms-eval's evaluator, where the task is an MMBench that is read by a judge."""
    aggregate = task.aggregation().get(METRIC)
    found = getattr(aggregate, "__globals__", {}).get("mmbench_evaluator")
    if found is None or "static" in aggregate.__name__:
        return None
    without_dice(found)
    return found


def without_dice(evaluator: Any) -> None:
    import sys

    sys.modules[type(evaluator).__module__].__dict__["rd"] = NoDice()


def read_option(evaluator: Any, row: Mapping[str, Any]) -> str:
    """The option that an answer names. Raises Unanswered, or Undecided when a judge's answer names
    none."""
    import pandas as pd

    option, _ = evaluator.extract_answer_from_item(pd.Series(dict(row)))
    return str(option)


def question_of(index: Any) -> int:
    return int(index) % _ROTATION


def settled(
    evaluator: Any, rows: Sequence[Mapping[str, Any] | None], indices: Sequence[int]
) -> list[bool]:
    """Whether each row's question is settled. `rows[i]` is None for a row without an option."""
    groups: dict[int, list[Mapping[str, Any] | None]] = defaultdict(list)
    for row, index in zip(rows, indices, strict=True):
        groups[question_of(index)].append(row)
    fine = {
        question: all(row is not None for row in members)
        or any(row is not None and _is_wrong(evaluator, row) for row in members)
        for question, members in groups.items()
    }
    return [fine[question_of(index)] for index in indices]


def _is_wrong(evaluator: Any, row: Mapping[str, Any]) -> bool:
    """By what the answer itself names: what a judge read cannot settle the others unasked."""
    import pandas as pd

    named = evaluator.prefetch_answer(pd.Series(dict(row)))
    return bool(named) and named != row["answer"]
