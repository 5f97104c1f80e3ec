"""Which rule of which benchmark grades a family of the world's questions, and what is one unit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unimm_eval.tasks.vqa16.graders.choice import LETTERS

if TYPE_CHECKING:
    from unimm_eval.world import Question

PEOPLE = ("{0}", "{0}.", "the {0}", " {0} ", "{0}?")
"""How ten people write down the same answer, in turn; the normalization of soft accuracy makes one
of them all."""
_SPELLED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True, kw_only=True)
class Graded:
    """A question of the world, its grade (None where it could not be scored) and what was read."""

    inputs: Mapping[str, Any]
    cluster: str
    value: float | None
    said: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`grader` by name, and `unit(index)`: the questions that are scored as one, `of` in number.
    Of `paired` units half as many are asked for, since each holds two different questions."""

    grader: str
    unit: Callable[[int], "Sequence[Question]"]
    of: int = 1
    paired: bool = False


def _alone(family: str, grader: str) -> Rule:
    def unit(index: int) -> "Sequence[Question]":
        from unimm_eval.world import question_at

        return (question_at(family=family, split="test", index=index),)

    return Rule(grader=grader, unit=unit)


def _circle(index: int) -> "Sequence[Question]":
    """A question with its options at every letter."""
    from unimm_eval.world import question_at, rotations

    return rotations(question_at(family="mmbench", split="test", index=index))


def _yes_and_no(index: int) -> "Sequence[Question]":
    """A picture with a question whose answer is yes and one whose answer is no."""
    from unimm_eval.world import opposite, question_at

    question = question_at(family="mme", split="test", index=index)
    return question, opposite(question, split="test", index=index)


def _lookalikes(index: int) -> "Sequence[Question]":
    """One question about two pictures that differ in one attribute."""
    from unimm_eval.world import question_at

    numbers = (2 * index, 2 * index + 1)
    return [question_at(family="mmvp", split="test", index=number) for number in numbers]


RULES: Mapping[str, Rule] = {
    "mmbench": Rule(grader="letter", unit=_circle, of=4),
    "mme": Rule(grader="yes_no", unit=_yes_and_no, of=2, paired=True),
    "mmvp": Rule(grader="letter_or_option", unit=_lookalikes, of=2, paired=True),
    **{
        family: _alone(family, grader)
        for family, grader in {
            "seed": "letter",
            "gqa": "exact",
            "sqa": "letter_or_text",
            "mmmu": "number",
            "mathvista": "number",
            "ai2d": "letter_or_index",
            "chartqa": "relaxed",
            "ocrbench": "containment",
            "textvqa": "soft",
            "docvqa": "anls",
            "realworldqa": "first_word",
            "cvbench2d": "letter",
            "cvbench3d": "letter",
        }.items()
    },
}
"""By family."""


def gold_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the grader of the family wants to know."""
    answer, choices = inputs["answer"], inputs["choices"]
    grader = RULES[inputs["family"]].grader
    if grader.startswith("letter"):
        lettered = list(choices) == list(LETTERS[: len(choices)])
        letter = answer if lettered else LETTERS[choices.index(answer)]
        return {"letter": letter, "options": [""] * len(choices) if lettered else choices}
    if grader == "soft":
        spelled = _SPELLED[int(answer)]
        said = [form.format(word) for word in (answer, spelled) for form in PEOPLE]
        return {"answers": said}
    return {"answer": answer, "answers": [answer]}


def chance_of(members: Sequence[Graded]) -> float:
    """What a unit's own answers score on average when the truth is drawn again from what its words
    admit: exactly what somebody who answers so, and does not look, can expect.

    A single question has one right answer of its choices. In a circle the right option is any of
    four: only who names the same option at every letter can be right, one time of four. In a pair
    the two answers are dealt to the two questions either way: only who answers differently can be
    right twice, one time of two, and half of MME's accuracy is got in any case.
    """
    inputs = members[0].inputs
    if inputs["family"] == "mmbench":
        named = {_option(member) for member in members}
        return 1 / len(inputs["choices"]) if len(named) == 1 and None not in named else 0.0
    if inputs["family"] in ("mme", "mmvp"):
        right = [_choice(member) for member in members]
        both = 0.5 * (None not in right and right[0] != right[1])
        if inputs["family"] == "mmvp":
            return both
        accuracy = 0.5 * sum(choice is not None for choice in right) / len(right)
        return (accuracy + both) / 2
    return 1 / len(inputs["choices"])


def _option(member: Graded) -> str | None:
    """The option behind the letter that was said."""
    words = member.inputs["question"].split()[-2 * len(member.inputs["choices"]) :]
    return dict(zip(words[::2], words[1::2], strict=True)).get(member.said)


def _choice(member: Graded) -> str | None:
    """The choice that was said, by itself or by its letter."""
    choices = member.inputs["choices"]
    if member.said in choices:
        return str(member.said)
    by_letter = dict(zip(LETTERS, choices, strict=False))
    return by_letter.get(member.said)
