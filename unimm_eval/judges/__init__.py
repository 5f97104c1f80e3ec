"""What scores an answer: a model behind an OpenAI-compatible server, or any that writes text.

A judge answers questions; a task makes them of its samples and outputs and reads the answers by the
rules of its protocol (`verdicts`, `parsing`). A question that got no answer is unscored, never 0.
"""

from unimm_eval.judges.asking import Verdict, verdicts
from unimm_eval.judges.contract import Answer, Judge, JudgeKind, Question
from unimm_eval.judges.model import ModelJudge
from unimm_eval.judges.parsing import labelled_digits, without_thoughts, yes_or_no
from unimm_eval.judges.task import JudgedConfig, JudgedTask

__all__ = [
    "Answer",
    "Judge",
    "JudgeKind",
    "JudgedConfig",
    "JudgedTask",
    "ModelJudge",
    "Question",
    "Verdict",
    "labelled_digits",
    "verdicts",
    "without_thoughts",
    "yes_or_no",
]
