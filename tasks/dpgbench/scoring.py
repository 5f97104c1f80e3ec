"""One picture's answers on their way to a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unimm_eval.api import Score
from unimm_eval.judges import Verdict
from unimm_eval.tasks.dpgbench.aggregate import Judged
from unimm_eval.tasks.dpgbench.graph import Question, counted, released_counts


@dataclass(kw_only=True)
class Tally:
    """Questions of one picture and the verdicts that came."""

    questions: Sequence[Question]
    released: bool
    _answers: dict[int, bool | None] = field(default_factory=dict)
    _asked: list[Mapping[str, Any]] = field(default_factory=list)
    _reasons: list[str] = field(default_factory=list)
    _outage: bool = False

    def add(self, number: int, verdict: Verdict[bool]) -> None:
        self._answers[number] = verdict.value
        self._asked += verdict.asked
        if verdict.value is None:
            self._reasons.append(f"question {number}: {verdict.reason}")
            self._outage |= verdict.outage

    @property
    def complete(self) -> bool:
        return len(self._answers) == len(self.questions)

    def score(self, sample_id: str, repeat: int) -> Score:
        """The mean of what the questions are worth.

        Unscored is a picture whose score depends on an answer that there is not; one below a no is
        worth 0 whatever it would have been. After an outage all is asked again.
        """
        values: dict[str, float] = {}
        reason = "; ".join(self._reasons)
        if not self._outage:
            worth = self._worth()
            if worth is None:
                reason = reason or "the released code fails: a question's parent is not there"
            else:
                values = {"score": sum(worth.values()) / len(worth)}
        return Score(
            sample_id=sample_id,
            repeat=repeat,
            values=values,
            payload={
                "answers": {str(number): answer for number, answer in self._answers.items()},
                "asked": self._asked,
            },
            unscored=None if values else reason,
            outage=self._outage,
        )

    def _worth(self) -> Mapping[int, bool] | None:
        """By question; None where a question's worth is not known."""
        known = {number: answer for number, answer in self._answers.items() if answer is not None}
        if self.released:
            whole = len(known) == len(self._answers)
            return released_counts(self.questions, known) if whole else None
        worth = counted(self.questions, self._answers)
        sure = {number: value for number, value in worth.items() if value is not None}
        return sure if len(sure) == len(worth) else None


def whole_prompts(pictures: Sequence[Judged]) -> list[Judged]:
    """The pictures, those of a prompt without any score when one of them has none."""
    broken = {each.cluster for each in pictures if each.score is None}
    return [replace(each, score=None) if each.cluster in broken else each for each in pictures]
