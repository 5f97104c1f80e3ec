"""Sixteen families of questions, one for the skill of each VQA benchmark."""

from unimm_eval.world.questions.again import opposite, options_of, rotations
from unimm_eval.world.questions.base import Family, Group, Question
from unimm_eval.world.questions.sampling import (
    FAMILIES,
    question_at,
    sample_question,
    sample_questions,
)

__all__ = [
    "FAMILIES",
    "Family",
    "Group",
    "Question",
    "opposite",
    "options_of",
    "question_at",
    "rotations",
    "sample_question",
    "sample_questions",
]
