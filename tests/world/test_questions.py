"""Every answer follows from the picture, and none from the words."""

from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
from world_solver import solve

from unimm_eval.world import FAMILIES, SPLITS, Question, question_at, rng_for, sample_questions
from unimm_eval.world.holdout import picture_is_held_out
from unimm_eval.world.questions import sample_question

GROUPS = {
    "General": ("mmbench", "seed", "mme", "gqa"),
    "Knowledge": ("sqa", "mmmu", "mathvista", "ai2d"),
    "OCR & Chart": ("chartqa", "ocrbench", "textvqa", "docvqa"),
    "Vision-centric": ("mmvp", "realworldqa", "cvbench2d", "cvbench3d"),
}


@cache
def _test_questions(family: str) -> tuple[Question, ...]:
    return tuple(question_at(family=family, split="test", index=i) for i in range(600))


def test_the_sixteen_families_of_cambrian() -> None:
    found = defaultdict(list)
    for family in FAMILIES.values():
        found[family.group].append(family.name)
    assert {group: tuple(names) for group, names in found.items()} == GROUPS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solver_that_sees_the_picture_is_always_right(family: str) -> None:
    for question in _test_questions(family)[:300]:
        assert question.answer in question.choices
        assert solve(question, question.picture) == question.answer, question


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solver_with_another_picture_is_at_chance(family: str) -> None:
    """It guesses where the other picture does not admit the question."""
    questions = _test_questions(family)
    above = []
    for question, other in zip(questions, questions[2:] + questions[:2], strict=True):
        answer = solve(question, other.picture)
        right = question.chance if answer is None else answer == question.answer
        above.append(right - question.chance)
    assert np.mean(above) <= 0.03


@pytest.mark.parametrize("family", FAMILIES)
def test_words_alone_say_nothing(family: str) -> None:
    """Guessers that learn the best choice of each wording elsewhere stay at chance."""
    rng = rng_for(split="val", purpose="guesser")
    answers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    places: Counter[int] = Counter()
    for _ in range(3000):
        q = sample_question(rng, family=family, split="val")
        answers[q.question, *q.choices][q.answer] += 1
        places[q.choices.index(q.answer)] += 1
    favourite = places.most_common(1)[0][0]
    by_words, by_place, chance = 0, 0, 0.0
    for q in _test_questions(family):
        seen = answers[q.question, *q.choices]
        guess = seen.most_common(1)[0][0] if seen else q.choices[favourite]
        by_words += guess == q.answer
        by_place += q.choices[favourite % len(q.choices)] == q.answer
        chance += q.chance
    slack = 3.5 * np.sqrt(chance * (1 - chance / 600))
    assert by_words <= chance + slack
    assert by_place <= chance + slack


@pytest.mark.parametrize("family", FAMILIES)
def test_words_are_few_and_answers_single(family: str) -> None:
    for q in _test_questions(family):
        assert len(q.question.split()) <= 14
        assert all(len(choice.split()) == 1 for choice in q.choices)
        assert len(set(q.choices)) == len(q.choices)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_number_gives_the_same_question_and_json_keeps_it(family: str) -> None:
    for index in range(20):
        q = question_at(family=family, split="val", index=index)
        assert q == question_at(family=family, split="val", index=index)
        assert Question.from_json(q.to_json()) == q


def test_splits_ask_different_questions() -> None:
    for family in FAMILIES:
        asked = [
            {str(question_at(family=family, split=s, index=i).to_json()) for i in range(50)}
            for s in SPLITS
        ]
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert len(asked[one] & asked[other]) <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_training_never_shows_a_held_out_picture(family: str) -> None:
    rng = rng_for(split="train", purpose="test")
    for _ in range(200):
        q = sample_question(rng, family=family, split="train")
        assert not q.held_out
        assert not picture_is_held_out(q.picture)


def test_evaluation_holds_out_about_a_quarter() -> None:
    shares = {f: np.mean([q.held_out for q in _test_questions(f)]) for f in FAMILIES}
    assert all(0.15 <= share <= 0.45 for share in shares.values()), shares
    assert 0.24 <= np.mean(list(shares.values())) <= 0.33


def test_pairs_differ_in_the_picture_and_the_answer_alone() -> None:
    questions = _test_questions("mmvp")
    for first, second in zip(questions[::2], questions[1::2], strict=True):
        assert first.pair == second.pair
        assert first.question == second.question
        assert {first.answer, second.answer} == set(first.choices)


def test_several_questions_about_one_training_picture() -> None:
    rng = rng_for(split="train", purpose="several")
    sizes = []
    for _ in range(500):
        questions = sample_questions(rng, split="train", k=4)
        sizes.append(len(questions))
        assert len({q.question for q in questions}) == len(questions) <= 4
        assert len({str(q.picture.to_json()) for q in questions}) == 1
        for q in questions[1:]:
            assert solve(q, q.picture) == q.answer
    assert np.mean(sizes) > 2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown family 'vqa'"):
        question_at(family="vqa", split="test", index=0)
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        question_at(family="mme", split="dev", index=0)  # type: ignore[arg-type]
