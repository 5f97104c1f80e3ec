"""Exact match: GQA's, of the whole answer, and RealWorldQA's, of its first word."""

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade, after_phrase, stated
from unimm_eval.tasks.vqa16.graders.choice import plain, stated_letter


def grade_exact(answer: str, gold: Gold, corrected: bool) -> Grade:
    """The answer without full stops at its end, in any case; nothing of the rule is a defect."""
    said = answer.lower().rstrip(".")
    return Grade(value=float(said == gold["answer"].lower()), said=said)


def grade_first_word(answer: str, gold: Gold, corrected: bool) -> Grade:
    """Released, the first word, with whatever clings to it but a full stop at the very end, so that
    no answer of two words can be right; an empty answer is wrong.

    Corrected, the whole answer or its first word without punctuation, and a letter as it is stated.
    """
    words = after_phrase(answer).rstrip(".").split()
    first = words[0] if words else ""
    right = gold["answer"].lower()
    if not corrected:
        return Grade(value=float(first == right), said=first)
    if len(right) == 1 and right.isalpha():
        letter = stated_letter(answer, ()) or ""
        return Grade(value=float(letter == right), said=letter, stray=not letter)
    correct = plain(right) in (plain(stated(answer)), plain(first)) and bool(plain(right))
    return Grade(value=float(correct), said=stated(answer))
