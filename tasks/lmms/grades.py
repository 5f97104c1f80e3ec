"""What a grader said of documents, and what aggregators make of it; runs in the child."""

import copy
import inspect
import math
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from unimm_eval.tasks.lmms.answering import Unanswered, Undecided, answered

_KINDS: dict[str, type[Any]] = {"tuple": tuple, "set": set}
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?![A-Za-z0-9])")


def packed(value: Any) -> Any:
    """As JSON that `unpacked` turns into the same: tuples, sets and keys that are no strings are
    marked. Raises TypeError for what is none of these."""
    if hasattr(value, "tolist"):
        return packed(value.tolist())
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list):
        return [packed(item) for item in value]
    for name, kind in _KINDS.items():
        if isinstance(value, kind):
            return {"": name, "items": [packed(item) for item in value]}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key for key in value):
            return {key: packed(item) for key, item in value.items()}
        return {"": "dict", "items": [[packed(k), packed(v)] for k, v in value.items()]}
    raise TypeError(f"a grader's {type(value).__name__} cannot be kept as JSON")


def unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "" not in value:
        return {key: unpacked(item) for key, item in value.items()}
    items = [unpacked(item) for item in value["items"]]
    return dict(items) if value[""] == "dict" else _KINDS[value[""]](items)


def number_of(value: Any, aggregate: Any) -> float | None:
    """A document's own number under a metric: what it gave, or what the aggregator makes of it
    alone; None where there is none."""
    for found in (value, *_named(value)):
        if isinstance(found, bool | int | float) and math.isfinite(found):
            return float(found)
    return tried(aggregate, [value], output=".")


def _named(value: Any) -> list[Any]:
    names = ("score", "is_correct", "true_false")
    return [value[name] for name in names if isinstance(value, dict) and name in value]


def notes_on(answer: str, target: Any) -> list[str]:
    """What is odd about an answer. Each is graded all the same."""
    if not answer.strip():
        return ["an empty answer"]
    notes = []
    if len(answer) > 20_000:
        notes.append("an answer of more than 20,000 characters")
    if isinstance(target, str) and re.fullmatch(r"\(?[A-Z]\)?", target.strip()):
        found = _LETTER.match(answer.strip())
        if found is None and len(answer.strip()) <= 3:
            notes.append("an option outside A-Z")
    return notes


def is_mean(aggregate: Any) -> bool:
    return getattr(aggregate, "__module__", "") == "lmms_eval.api.metrics" and (
        aggregate.__name__ == "mean"
    )


def called(
    aggregate: Any, values: Sequence[Any], *, output: str, replies: Mapping[str, str] | None = None
) -> float | None:
    """The number that an aggregator makes of documents, or None where it makes none.

    MathVista's makes None of no right answer at all, which is 0.
    """
    if not values:
        return None
    arguments: dict[str, Any] = {}
    if "args" in inspect.signature(aggregate).parameters:
        arguments["args"] = Namespace(output_path=output, process_with_media=False)
    with answered(replies or {}), _state_kept(aggregate):
        found = aggregate(copy.deepcopy(list(values)), **arguments)
    if found is None and aggregate.__name__ == "mathvista_aggregate_results":
        return 0.0
    if not isinstance(found, bool | int | float) and not hasattr(found, "tolist"):
        return None
    number = float(found)
    return number if math.isfinite(number) else None


def tried(aggregate: Any, values: Sequence[Any], **options: Any) -> float | None:
    """As `called`, where there are too few documents for some: one that fails makes none."""
    try:
        return called(aggregate, values, **options)
    except (Exception, Unanswered, Undecided):  # noqa: BLE001 - any aggregator, on any part
        return None


@contextmanager
def _state_kept(aggregate: Any) -> Iterator[None]:
    """Leave the module of an aggregator as it was: some count in its globals (OCRBench)."""
    kinds = (dict, list, set)
    space = getattr(aggregate, "__globals__", {})
    state = {
        name: copy.deepcopy(value)
        for name, value in space.items()
        if type(value) in kinds and not name.startswith("__")
    }
    try:
        yield
    finally:
        space.update(state)


def paired_rows(aggregate: Any, values: Sequence[Any]) -> list[bool]:
    """Which documents an aggregator can take: MME's fails on a question that lacks its twin."""
    if getattr(aggregate, "__name__", "") != "mme_aggregate_results":
        return [True] * len(values)
    keys = [(value["category"], value["question_id"]) for value in values]
    return [keys.count(key) == 2 for key in keys]


def scale_of(aggregate: Any, *, kept: int, asked: int) -> float:
    """OCRBench divides by its 1,000 documents whatever it is given: those that are left out of the
    number must not count as wrong."""
    if getattr(aggregate, "__name__", "") != "ocrbench_aggregate_accuracy":
        return 1.0
    return asked / kept


def deletions(clusters: Sequence[str], *, groups: int) -> list[list[int]]:
    """For a jackknife over groups of clusters: which rows stay when one group is left out."""
    names = sorted(set(clusters))
    count = min(groups, len(names))
    member = {name: index % count for index, name in enumerate(names)}
    return [
        [row for row, name in enumerate(clusters) if member[name] != left_out]
        for left_out in range(count)
    ]
