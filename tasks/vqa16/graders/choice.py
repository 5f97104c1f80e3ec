"""Multiple choice: which option an answer names.

Released, the first character after "answer is" is the letter, whatever word it begins. Corrected,
a letter counts when it stands for itself, and so does the text of an option.
"""

import re
import string
from collections.abc import Sequence

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade, after_phrase, stated

LETTERS = string.ascii_lowercase
_BARE = re.compile(r"[(\[]?([a-z])[)\].:,;!]*")
_LED = re.compile(r"[(\[]([a-z])[)\]]|([a-z])(?:[).:]|\n)")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def released_letter(answer: str) -> str:
    """The first character of what is said to be the answer; empty for an empty one."""
    return after_phrase(answer).rstrip(".:,").lstrip("(").rstrip(")")[:1]


def stated_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer states: alone, in brackets, before a full stop or colon, or by the
    text of its option. None where it states none; it may be a letter beyond the options."""
    text = stated(answer)
    if bare := _BARE.fullmatch(text):
        return bare[1]
    by_text = {plain(option): letter for letter, option in zip(LETTERS, options, strict=False)}
    if (letter := by_text.get(plain(text))) is not None and plain(text):
        return letter
    head, _, rest = text.partition(" ")
    if rest and plain(rest) in by_text and by_text[plain(rest)] == plain(head):
        return plain(head)
    if led := _LED.match(text):
        return led[1] or led[2]
    return None


def plain(text: str) -> str:
    """Without punctuation, capitals and spaces at the ends."""
    return text.translate(_PUNCTUATION).lower().strip()


def grade_letter(answer: str, gold: Gold, corrected: bool) -> Grade:
    """The right letter."""
    said = stated_letter(answer, gold["options"]) if corrected else released_letter(answer)
    return _graded(said, gold)


def grade_letter_or_index(answer: str, gold: Gold, corrected: bool) -> Grade:
    """AI2D: the first four letters stand for numbers, and a number counts as well."""
    if corrected:
        return _graded(stated_letter(answer, gold["options"]), gold)
    said = released_letter(answer)
    index = str("abcd".index(said)) if said and said in "abcd" else said
    right = str(LETTERS.index(gold["letter"]))
    return Grade(value=float(index == right), said=said, stray=not _possible(said, gold))


def grade_letter_or_text(answer: str, gold: Gold, corrected: bool) -> Grade:
    """ScienceQA: the letter before the first full stop, or the text of the right option."""
    if corrected:
        return _graded(stated_letter(answer, gold["options"]), gold)
    text = after_phrase(answer).rstrip(".")
    said = text.split(".")[0]
    right = gold["options"][LETTERS.index(gold["letter"])]
    correct = said == gold["letter"] or plain(text) == plain(right.strip())
    return Grade(value=float(correct), said=said, stray=not (correct or _possible(said, gold)))


def grade_letter_or_option(answer: str, gold: Gold, corrected: bool) -> Grade:
    """MMVP: the letter alone, or the text of the right option alone."""
    if corrected:
        return _graded(stated_letter(answer, gold["options"]), gold)
    said = after_phrase(answer).rstrip(".:,").lstrip("(").rstrip(")")
    right = gold["options"][LETTERS.index(gold["letter"])].lower()
    correct = said in (gold["letter"], right)
    return Grade(value=float(correct), said=said, stray=not (correct or _possible(said, gold)))


def _graded(said: str | None, gold: Gold) -> Grade:
    if said is None:
        return Grade(value=0.0, said="", stray=True, unread=True)
    return Grade(value=float(said == gold["letter"]), said=said, stray=not _possible(said, gold))


def _possible(said: str, gold: Gold) -> bool:
    """Whether it is the letter of an option."""
    return len(said) == 1 and said in LETTERS[: len(gold["options"])]
