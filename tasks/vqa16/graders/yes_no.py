"""MME: yes or no."""

import re

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade, stated

_FIRST = re.compile(r"\W*(yes|no)\b")


def grade_yes_no(answer: str, gold: Gold, corrected: bool) -> Grade:
    """Released, the answer is that word and nothing more but full stops. Corrected, it is its first
    word: "Yes, there is." says yes."""
    said = answer.lower().rstrip(".")
    if corrected:
        first = _FIRST.match(stated(answer))
        said = first[1] if first else said
    right = gold["answer"].lower()
    return Grade(value=float(said == right), said=said, stray=said not in ("yes", "no"))
