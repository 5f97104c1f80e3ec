"""Sixteen readers: what is asked about a row and what is right, worded as by Cambrian's evaluation.

A reader takes a row as the data set has it and the settings of the card, and gives a `Reading`, or
None for a row that does not belong to the benchmark. A row that cannot be asked or graded raises
`BadRowError`, which says why. Everything is checked: rows come from outside.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval.tasks.vqa16.graders.choice import LETTERS

Row = Mapping[str, Any]
Settings = Mapping[str, Any]


class BadRowError(ValueError):
    """What is wrong with a row, to be read after "row N: "."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A question without its picture.

    `grader` is another than the card's where a row calls for it. `stratum` is what a mean of means
    is over.
    """

    question: str
    gold: dict[str, Any]
    category: str = ""
    stratum: str = ""
    grader: str = ""


Reader = Callable[[Row, int, Settings], Reading | None]


def unit_of(row: Row, index: int, picture: str | None, settings: Settings) -> tuple[str, int]:
    """What a row is scored as one with, and of how many rows that is at least; known of bad rows,
    too, so that what is left of a pair never passes for a whole one.

    Released, rotations are rows of one category, question, picture and source, and MME's and MMVP's
    pairs are two rows that follow each other. Corrected, they are rows of one index (past the
    millions, which count rotations), and of one category and question id.
    """
    corrected = settings["grading"] == "corrected"
    kind = settings["unit"]
    if kind == "circle":
        number = row.get("index")
        if corrected and isinstance(number, int | float):
            return f"index {int(number) % 1_000_000}", 1
        fields = [row.get("category"), row.get("question"), picture, row.get("source")]
        return " / ".join(map(str, fields)), 1
    if kind == "mme" and corrected:
        return f"{row.get('category')} / {row.get('question_id')}", 2
    if kind in ("mme", "pair"):
        return f"pair {index // 2}", 2
    return f"row {index}", 1


def text_of(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"its {name} is {'empty' if not value else 'no text'}")
    return value


def answer_of(row: Row, name: str = "answer") -> str:
    try:
        return text_of(row, name)
    except BadRowError as error:
        raise BadRowError(f"it has no answer ({error})") from error


def answers_of(row: Row, name: str) -> list[str]:
    """One or several right answers, without empty ones."""
    value = row.get(name)
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, Sequence):
        raise BadRowError(f"it has no answer (its {name} is no list)")
    if not (found := [each for each in given if isinstance(each, str) and each.strip()]):
        raise BadRowError("it has no answer")
    return found


def options_of(row: Row, name: str) -> list[str]:
    value = row.get(name)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadRowError(f"it has no options (its {name} is no list)")
    return [str(option) for option in value]


def choice(letter: str, options: Sequence[str]) -> dict[str, Any]:
    """Gold of a multiple choice. Raises BadRowError when the letter is no option's."""
    if len(options) > len(LETTERS):
        raise BadRowError(f"it has {len(options)} options, and letters end at Z")
    letter = letter.strip().lower()
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise BadRowError(f"its answer is {letter[:20]!r}, the letter of none of its options")
    return {"letter": letter, "options": list(options)}


def index_of(value: Any, options: Sequence[str]) -> str:
    """The letter of an option that is given by its number from 0."""
    number = str(value).strip()
    if not number.isdecimal() or int(number) >= len(options):
        raise BadRowError(f"its answer is {number[:20]!r}, the number of none of its options")
    return LETTERS[int(number)] if int(number) < len(LETTERS) else ""


def listed(options: Sequence[str]) -> str:
    """Options below each other, each after its letter."""
    if len(options) > len(LETTERS):
        raise BadRowError(f"it has {len(options)} options, and letters end at Z")
    return "".join(
        f"\n{letter}. {option}" for letter, option in zip(LETTERS.upper(), options, strict=False)
    )


def below(text: str, suffix: str) -> str:
    """The suffix of the prompt, on a line of its own."""
    return f"{text}\n{suffix}" if suffix else text


def _mmbench(row: Row, index: int, settings: Settings) -> Reading | None:
    answer = row.get("answer")
    if not isinstance(answer, str) or answer in ("", "nan"):
        return None  # a row of the test split
    fields = {key: row.get(key) for key in "ABCD"}
    given = {key: str(value) for key, value in fields.items() if value not in (None, "", "nan")}
    if list(given) != list("ABCD")[: len(given)] or len(given) < 2:
        raise BadRowError(f"its options are {', '.join(given) or 'none'}")
    question = text_of(row, "question")
    hint = row.get("hint")
    asked = f"{hint}\n{question}" if hint not in (None, "", "nan") else question
    return Reading(
        question=below(f"{asked} Options:{listed(list(given.values()))}", settings["suffix"]),
        gold=choice(answer, list(given.values())),
        category=str(row.get("category")),
    )


def _seed(row: Row, index: int, settings: Settings) -> Reading | None:
    picture = row.get("image")
    if isinstance(picture, Sequence) and not isinstance(picture, str | bytes) and len(picture) > 1:
        return None  # frames of a film
    options = [text_of(row, f"choice_{letter}") for letter in "abcd"]
    question = f"{text_of(row, 'question')} Options:{listed(options)}"
    return Reading(
        question=below(question, settings["suffix"]),
        gold=choice(answer_of(row), options),
        category=str(row.get("question_type_id")),
    )


def _mme(row: Row, index: int, settings: Settings) -> Reading | None:
    answer = answer_of(row).strip()
    if answer.lower() not in ("yes", "no"):
        raise BadRowError(f"its answer is {answer[:20]!r}, neither yes nor no")
    category = text_of(row, "category")
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={"answer": answer},
        category=category,
        stratum=category,
    )


def _gqa(row: Row, index: int, settings: Settings) -> Reading | None:
    kinds = row.get("types")
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={"answer": answer_of(row)},
        category=str(kinds.get("structural", "")) if isinstance(kinds, Mapping) else "",
    )


def _ai2d(row: Row, index: int, settings: Settings) -> Reading | None:
    options = options_of(row, "options")
    question = f"{text_of(row, 'question')}{listed(options)}"
    return Reading(
        question=below(question, settings["suffix"]),
        gold=choice(index_of(row.get("answer"), options), options),
    )


def _mathvista(row: Row, index: int, settings: Settings) -> Reading | None:
    facts = row.get("metadata")
    category = str(facts.get("category", "")) if isinstance(facts, Mapping) else ""
    answer = answer_of(row)
    if row.get("question_type") == "multi_choice":
        options = options_of(row, "choices")
        places = [place for place, option in enumerate(options) if option == answer]
        if not places:
            raise BadRowError(f"its answer is {answer[:20]!r}, none of its options")
        gold, suffix = choice(index_of(places[-1], options), options), settings["suffix"]
    else:
        gold, suffix = {"answer": answer}, settings["suffix_open"]
    return Reading(question=below(text_of(row, "query"), suffix), gold=gold, category=category)


_MMMU_TAG = re.compile(r"<image \d+>")
_MMMU_OPTION = re.compile(r"'(.*?)'")


def _mmmu(row: Row, index: int, settings: Settings) -> Reading | None:
    question, answer = text_of(row, "question"), answer_of(row)
    parts = str(row.get("id")).split("_")
    category = parts[1] if len(parts) > 1 else ""
    gold: dict[str, Any]
    if row.get("question_type") == "multiple-choice":
        options = _MMMU_OPTION.findall(str(row.get("options")))
        asked = below(f"{question} Options:{listed(options)}", settings["suffix"])
        gold, grader = choice(answer, options), "letter"
    else:
        asked = below(question, settings["suffix_open"])
        quoted = _MMMU_OPTION.findall(answer) if answer.startswith("[") else []
        gold, grader = {"answer": answer, "answers": quoted or [answer], "cut": True}, "number"
    return Reading(
        question=_MMMU_TAG.sub("", asked).strip(), gold=gold, category=category, grader=grader
    )


def _sqa(row: Row, index: int, settings: Settings) -> Reading | None:
    if row.get("image") is None:
        return None  # a question without a picture: only those with one are reported
    options = options_of(row, "choices")
    hint = row.get("hint")
    question = text_of(row, "question")
    asked = f"{hint} {question}" if hint else question
    return Reading(
        question=below(f"{asked}{listed(options)}", settings["suffix"]),
        gold=choice(index_of(row.get("answer"), options), options),
        category=str(row.get("grade")),
    )


def _ocrbench(row: Row, index: int, settings: Settings) -> Reading | None:
    category = str(row.get("question_type"))
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={
            "answers": answers_of(row, "answer"),
            "formula": category == "Handwritten Mathematical Expression Recognition",
        },
        category=category,
    )


def _textvqa(row: Row, index: int, settings: Settings) -> Reading | None:
    tokens = row.get("ocr_tokens")
    shown = ", ".join(map(str, tokens)) if isinstance(tokens, Sequence) else ""
    question = f"{text_of(row, 'question')}\nReference OCR tokens:{' ' if shown else ''}{shown}"
    return Reading(
        question=below(question, settings["suffix"]), gold={"answers": answers_of(row, "answers")}
    )


def _chartqa(row: Row, index: int, settings: Settings) -> Reading | None:
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={"answer": answer_of(row)},
        category=str(row.get("type")),
    )


def _docvqa(row: Row, index: int, settings: Settings) -> Reading | None:
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={"answers": answers_of(row, "answers")},
    )


_MMVP_OPTION = re.compile(r"\([a-z]\)")


def _mmvp(row: Row, index: int, settings: Settings) -> Reading | None:
    options = [part.strip() for part in _MMVP_OPTION.split(text_of(row, "Options"))[1:]]
    answer = answer_of(row, "Correct Answer").strip("() ")
    if settings["grading"] == "corrected":
        answers = {str(key): value for key, value in settings["corrections"].items()}
        answer = answers.get(str(row.get("Index")), answer)
    question = f"{text_of(row, 'Question')} Options:{listed(options)}"
    return Reading(
        question=below(question, settings["suffix"]),
        gold=choice(answer, options),
    )


def _realworldqa(row: Row, index: int, settings: Settings) -> Reading | None:
    return Reading(
        question=below(text_of(row, "question"), settings["suffix"]),
        gold={"answer": answer_of(row)},
    )


def _cvbench(row: Row, index: int, settings: Settings) -> Reading | None:
    options = options_of(row, "choices")
    return Reading(
        question=below(text_of(row, "prompt"), settings["suffix"]),
        gold=choice(answer_of(row).strip("() "), options),
        category=str(row.get("task")),
        stratum=str(row.get("source")) if "strata" in settings else "",
    )


READERS: Mapping[str, Reader] = {
    "ai2d": _ai2d,
    "chartqa": _chartqa,
    "cvbench2d": _cvbench,
    "cvbench3d": _cvbench,
    "docvqa": _docvqa,
    "gqa": _gqa,
    "mathvista": _mathvista,
    "mmbench": _mmbench,
    "mme": _mme,
    "mmmu": _mmmu,
    "mmvp": _mmvp,
    "ocrbench": _ocrbench,
    "realworldqa": _realworldqa,
    "seed": _seed,
    "sqa": _sqa,
    "textvqa": _textvqa,
}
"""By name of the task."""
