"""TextVQA: soft accuracy against the answers of ten people, after VQA's normalization.

Who agrees with three or more people is fully right. Averaged over leaving out each person in turn,
as the evaluators of VQA, M4C and Cambrian do.
"""

import re
from collections.abc import Sequence

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade

_ENOUGH = 3
_ARTICLES = frozenset({"a", "an", "the"})
_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_SPELLED)}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_FULL_STOP = re.compile(r"\.(?!\d)")
_FULL_STOPS_REMOVED = 32
"""The released code passes a flag of `re` where the number of replacements belongs."""
_THOUSANDS = re.compile(r"(?<=\d),+(?=\d)")


def grade_soft(answer: str, gold: Gold, corrected: bool) -> Grade:
    """Released, at most 32 full stops are removed from an answer; corrected, all of them."""
    said = normalized(answer.lower(), every_stop=corrected)
    people = [normalized(right.lower(), every_stop=corrected) for right in gold["answers"]]
    return Grade(value=soft_accuracy(said, people), said=said)


def soft_accuracy(said: str, people: Sequence[str]) -> float:
    """Mean over persons of min(1, how many others say the same / 3)."""
    if not people:
        return 0.0
    same = sum(person == said for person in people)
    left = [same - (person == said) for person in people]
    return sum(min(1.0, count / _ENOUGH) for count in left) / len(people)


def normalized(text: str, *, every_stop: bool = False) -> str:
    """VQA's normal form: no punctuation, articles or spelled-out numbers, contractions with their
    apostrophe.

    A mark is removed where it stands beside a space, or where any number has a thousands separator;
    else it becomes a space.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    separated = _THOUSANDS.search(text) is not None
    left = text
    for mark in _MARKS:
        alone = f"{mark} " in text or f" {mark}" in text or separated
        left = left.replace(mark, "" if alone else " ")
    left = _FULL_STOP.sub("", left, count=0 if every_stop else _FULL_STOPS_REMOVED)
    words = [_NUMBERS.get(word, word) for word in left.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _contractions() -> dict[str, str]:
    """Spelled without an apostrophe → with it, as VQA's table has them, oddities included."""
    ends = {
        "n't": "ai are ca could did does do had has have is might must need ought sha should was "
        "were wo would",
        "'ve": "could might must not should they we what where who would you",
        "'d": "he how it someone something there they where who you",
        "'ll": "how it somebody someone something they what who why you",
        "'s": "he how that there what when where who why somebody someone",
        "'re": "they there what why you",
    }
    table = {
        stem + end.replace("'", ""): stem + end
        for end, stems in ends.items()
        for stem in stems.split()
    }
    # Twice contracted, with one apostrophe of the two.
    twice = {
        "n't've": "could had might should would",
        "'d've": "he it she somebody someone something there they we who you",
    }
    for end, stems in twice.items():
        inner = end.rindex("'")
        for whole in (stem + end for stem in stems.split()):
            cut = len(whole) - len(end) + inner
            table[whole[:cut].replace("'", "") + whole[cut:]] = whole
            table[whole[:cut] + whole[cut:].replace("'", "")] = whole
    whole = "y'all'd've"
    table |= {"yall'd've": whole, "y'alld've": whole, "y'all'dve": whole}
    table |= {"yall": "y'all", "yall'll": "y'all'll", "y'allll": "y'all'll"}
    table |= dict.fromkeys(["ow's'at", "'ows'at", "'ow'sat"], "'ow's'at")
    return table | {
        "maam": "ma'am",
        "oclock": "o'clock",
        "somebody'd": "somebodyd",
        "twas": "'twas",
    }


_CONTRACTIONS = _contractions()
