"""The same picture asked again: with options rotated (MMBench's circles), or for the other answer
(MME's pairs of yes and no).

What is asked again has the answers of the first question turned round by a rule that does not look
at the picture, so that words alone still say nothing: of a circle each option is the right one
equally often, of a pair either question is the one that is answered yes.
"""

from dataclasses import replace

from unimm_eval.world.draw import Split, rng_for
from unimm_eval.world.questions.base import LETTERS, Question
from unimm_eval.world.questions.general import ask_mme
from unimm_eval.world.scenes import Scene


def options_of(question: Question) -> tuple[str, ...]:
    """What stands behind the letters of a question with lettered options. Raises ValueError."""
    words = question.question.split()
    named = words[-2 * len(LETTERS) :]
    if question.choices != LETTERS or tuple(named[::2]) != LETTERS:
        raise ValueError(f"{question.question!r} has no lettered options")
    return tuple(named[1::2])


def rotations(question: Question) -> tuple[Question, ...]:
    """The question as it is, then with its options moved on by one, two and three letters."""
    options = options_of(question)
    stem = " ".join(question.question.split()[: -2 * len(LETTERS)])
    place = LETTERS.index(question.answer)
    turned = []
    for turn in range(len(LETTERS)):
        moved = options[turn:] + options[:turn]
        listed = " ".join(f"{name} {option}" for name, option in zip(LETTERS, moved, strict=True))
        answer = LETTERS[(place - turn) % len(LETTERS)]
        turned.append(replace(question, question=f"{stem} {listed}", answer=answer))
    return tuple(turned)


def opposite(question: Question, *, split: Split, index: int) -> Question:
    """Question number `index` of MME's family asked again about its picture, for another thing:
    where the answer was yes it is no, and the other way round."""
    if question.family != "mme" or not isinstance(question.picture, Scene):
        raise ValueError(f"a question of {question.family} has no opposite")
    rng = rng_for(split=split, purpose="question/mme/opposite", index=index)
    while True:
        draft = ask_mme(rng, question.picture)
        if draft.answer != question.answer:
            return replace(question, question=draft.question, answer=draft.answer)
