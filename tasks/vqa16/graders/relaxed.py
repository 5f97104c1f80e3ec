"""Numbers that may be off by 5%: ChartQA's rule, MathVista's and that of MMMU's open questions."""

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade, after_phrase, number_of, stated
from unimm_eval.tasks.vqa16.graders.choice import grade_letter

TOLERANCE = 0.05
_WORDS_OF_A_BARE_ANSWER = 5


def grade_relaxed(answer: str, gold: Gold, corrected: bool) -> Grade:
    """ChartQA: 5% of the right number where both are numbers, else exactly.

    Released, "10%" is no number. Corrected, a percent sign divides by 100, as in the relaxed
    accuracy that ChartQA's authors and most others report.
    """
    said, right = answer.lower(), gold["answer"].lower()
    read = _percent if corrected else number_of
    a, b = read(said), read(right)
    if a is not None and b is not None:
        return Grade(value=float(abs(a - b) <= abs(b) * TOLERANCE), said=said)
    return Grade(value=float(said == right), said=said)


def _percent(text: str) -> float | None:
    if not text.endswith("%"):
        return number_of(text)
    number = number_of(text.rstrip("%"))
    return None if number is None else number / 100


def grade_number(answer: str, gold: Gold, corrected: bool) -> Grade:
    """MathVista, and MMMU's open questions (`cut`: after "answer is", without a full stop).

    Released, equal text, or a number within 5% of the *answer*; of MathVista nothing is cut out, so
    that the reasoning it asks for makes every answer wrong, and a choice must be the bare letter.
    Corrected, within 5% of the right number, a choice as it is stated, any of several right
    answers; what is a sentence is left to a judge.
    """
    if corrected:
        return _corrected_number(answer, gold)
    said = after_phrase(answer).rstrip(".") if gold.get("cut") else answer.lower()
    right = (gold["letter"] if "letter" in gold else gold["answer"]).lower()
    a, b = number_of(said), number_of(right)
    correct = said == right or (
        a is not None and b is not None and abs(b - a) <= abs(a) * TOLERANCE
    )
    return Grade(value=float(correct), said=said)


def _corrected_number(answer: str, gold: Gold) -> Grade:
    if "letter" in gold:
        return grade_letter(answer, gold, True)
    said = stated(answer)
    rights = [right.lower().strip() for right in gold.get("answers", [gold["answer"]])]
    number = number_of(said.replace(",", ""))
    if said in rights or any(_near(number, number_of(right)) for right in rights):
        return Grade(value=1.0, said=said)
    decided = number is not None or (
        len(said.split()) <= _WORDS_OF_A_BARE_ANSWER
        and not any(number_of(right) is not None for right in rights)
    )
    return Grade(value=0.0, said=said, unread=bool(said) and not decided)


def _near(said: float | None, right: float | None) -> bool:
    return said is not None and right is not None and abs(said - right) <= abs(right) * TOLERANCE
