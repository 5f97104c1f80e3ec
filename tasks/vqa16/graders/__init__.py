"""What an answer is worth: one file a kind of rule, each as released and, where that has a defect,
corrected.

A grader is a function (answer, gold, corrected) → Grade. The answer comes without spaces at its
ends; `gold` is what the row says, as `questions` wrote it. No grader raises on any text.
"""

from collections.abc import Mapping

from unimm_eval.tasks.vqa16.graders.base import Gold, Grade, Grader
from unimm_eval.tasks.vqa16.graders.choice import (
    grade_letter,
    grade_letter_or_index,
    grade_letter_or_option,
    grade_letter_or_text,
    stated_letter,
)
from unimm_eval.tasks.vqa16.graders.containment import grade_containment
from unimm_eval.tasks.vqa16.graders.exact import grade_exact, grade_first_word
from unimm_eval.tasks.vqa16.graders.relaxed import grade_number, grade_relaxed
from unimm_eval.tasks.vqa16.graders.similarity import anls, grade_anls
from unimm_eval.tasks.vqa16.graders.soft import grade_soft, normalized
from unimm_eval.tasks.vqa16.graders.yes_no import grade_yes_no

GRADERS: Mapping[str, Grader] = {
    "anls": grade_anls,
    "containment": grade_containment,
    "exact": grade_exact,
    "first_word": grade_first_word,
    "letter": grade_letter,
    "letter_or_index": grade_letter_or_index,
    "letter_or_option": grade_letter_or_option,
    "letter_or_text": grade_letter_or_text,
    "number": grade_number,
    "relaxed": grade_relaxed,
    "soft": grade_soft,
    "yes_no": grade_yes_no,
}
"""By the name that a card gives in `settings.grader`."""

__all__ = ["GRADERS", "Gold", "Grade", "Grader", "anls", "normalized", "stated_letter"]
