"""Questions of one prompt and what each is worth once the questions it depends on are answered.

"Is the hat red?" depends on "is there a hat?": without a hat it is worth nothing, whatever the
judge says of it (Davidsonian Scene Graph, Cho et al., 2023; used by DPG-Bench, Hu et al., 2024).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict


class Question(TypedDict):
    """One question, as a sample's inputs hold it: JSON-able."""

    id: int
    """Its number within the prompt."""
    row: int
    """Its place in the benchmark's file, from 0, or in the list where there is no file."""
    parents: list[int]
    """Ids of the questions it depends on."""
    category: str
    """Such as "attribute - color"; what stands before " - " is the broad category."""
    question: str


def faults_of(questions: Sequence[Question]) -> list[str]:
    """Why these questions are no graph that scores can be had from; empty where they are."""
    if not questions:
        return ["there is no question about it"]
    times = Counter(question["id"] for question in questions)
    found = [f"question {number} is there {n} times" for number, n in times.items() if n > 1]
    found += [
        f"question {question['id']} (row {question['row'] + 1}) depends on question {parent}, "
        "which is not there"
        for question in questions
        for parent in question["parents"]
        if parent not in times
    ]
    parents = {question["id"]: question["parents"] for question in questions}
    around = [n for n in parents if any(n in _reached(each, parents) for each in parents[n])]
    if around:
        found.append(f"questions depend on each other in a circle: {', '.join(map(str, around))}")
    return found


def _reached(start: int, parents: Mapping[int, Sequence[int]]) -> set[int]:
    """`start` and everything above it."""
    reached: set[int] = set()
    pending = [start]
    while pending:
        number = pending.pop()
        if number not in reached:
            reached.add(number)
            pending += parents.get(number, ())
    return reached


def counted(
    questions: Sequence[Question], answers: Mapping[int, bool | None]
) -> dict[int, bool | None]:
    """Whether each question counts: it and everything that it depends on is answered yes.

    An answer can be missing (None). A question then counts only as far as that is known: False
    where anything above it is answered no, else None. The order of `questions`, which must be
    without faults, decides nothing.
    """
    parents = {question["id"]: question["parents"] for question in questions}
    found: dict[int, bool | None] = {}
    for number in parents:
        over = [answers[each] for each in _reached(number, parents)]
        found[number] = False if False in over else None if None in over else True
    return found


def released_questions(questions: Sequence[Question]) -> list[Question]:
    """What the released code makes of a prompt's rows: without the file's first row; of rows that
    do not stand together the last ones; of rows with one id the last, at the first one's place."""
    blocks: list[list[Question]] = []
    for question in questions:
        if question["row"] == 0:
            continue
        if blocks and question["row"] == blocks[-1][-1]["row"] + 1:
            blocks[-1].append(question)
        else:
            blocks.append([question])
    return list({question["id"]: question for question in blocks[-1]}.values()) if blocks else []


def released_counts(
    questions: Sequence[Question], answers: Mapping[int, bool]
) -> dict[int, bool] | None:
    """As `counted` by the released code: one pass in the order of the file, each question looking
    at what its parents are worth so far. None where that code fails: a parent is not there."""
    counts = {question["id"]: answers[question["id"]] for question in questions}
    for question in questions:
        for parent in question["parents"]:
            if parent not in counts:
                return None
            if not counts[parent]:
                counts[question["id"]] = False
                break
    return counts


def asked_about(question: Question) -> tuple[str, str]:
    """(broad, detailed) category, such as ("attribute", "attribute - color")."""
    detailed = question["category"]
    return detailed.split("-")[0].strip(), detailed
