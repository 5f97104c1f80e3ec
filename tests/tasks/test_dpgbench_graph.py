"""Zeroing of dependent questions: equal to a naive walk, in any order; the released code's pass."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm_eval.tasks.dpgbench.graph import (
    counted,
    faults_of,
    released_counts,
    released_questions,
)


def question(number, parents=(), *, row=None, text=""):
    row = number - 1 if row is None else row
    return {"id": number, "row": row, "parents": list(parents), "category": "", "question": text}


@st.composite
def graphs(draw):
    """(questions in any order, answers): parents have smaller numbers, some answers are missing."""
    size = draw(st.integers(1, 12))
    questions = [
        question(number, sorted(draw(st.sets(st.integers(1, number - 1)))) if number > 1 else [])
        for number in range(1, size + 1)
    ]
    answers = draw(
        st.fixed_dictionaries({q["id"]: st.sampled_from([True, False, None]) for q in questions})
    )
    return draw(st.permutations(questions)), answers


def walk(number, parents, answers):
    """Naively: every path upwards, one after the other."""
    over = [walk(parent, parents, answers) for parent in parents[number]]
    everything = [answers[number], *over]
    if False in everything:
        return False
    return None if None in everything else True


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_zeroing_equals_a_naive_walk(graph):
    questions, answers = graph
    parents = {q["id"]: q["parents"] for q in questions}
    assert faults_of(questions) == []
    assert counted(questions, answers) == {n: walk(n, parents, answers) for n in parents}


@settings(max_examples=100, deadline=None)
@given(graphs(), st.randoms())
def test_the_order_of_questions_decides_nothing(graph, rng):
    questions, answers = graph
    other = list(questions)
    rng.shuffle(other)
    assert counted(questions, answers) == counted(other, answers)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_what_is_known_without_an_answer_holds_for_every_answer(graph):
    questions, answers = graph
    known = {n: v for n, v in counted(questions, answers).items() if v is not None}
    for guess in (True, False):
        filled = {n: guess if v is None else v for n, v in answers.items()}
        full = counted(questions, filled)
        assert {n: full[n] for n in known} == known


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_one_pass_zeroes_too_little_and_all_where_parents_come_first(graph):
    questions, answers = graph
    answers = {n: bool(v) for n, v in answers.items()}
    right = counted(questions, answers)
    one_pass = released_counts(questions, answers)
    assert all(one_pass[n] or not right[n] for n in right)
    ordered = sorted(questions, key=lambda q: q["id"])
    assert released_counts(ordered, answers) == right


def test_one_pass_misses_a_grandparent_that_comes_late():
    questions = [question(3, [2]), question(2, [1]), question(1)]
    answers = {1: False, 2: True, 3: True}
    assert counted(questions, answers) == {1: False, 2: False, 3: False}
    assert released_counts(questions, answers) == {1: False, 2: False, 3: True}


def test_a_parent_that_is_not_there_fails_the_released_code_where_it_is_looked_at():
    questions = [question(2), question(3, [2, 1])]
    assert released_counts(questions, {2: True, 3: True}) is None
    assert released_counts(questions, {2: False, 3: True}) == {2: False, 3: False}


def test_released_questions():
    rows = [question(n, row=n - 1) for n in (1, 2, 3)]
    assert [q["id"] for q in released_questions(rows)] == [2, 3]  # row 0 is skipped
    apart = [question(1, row=5), question(2, row=6), question(3, row=9)]
    assert [q["id"] for q in released_questions(apart)] == [3]
    twice = [question(1, row=5, text="a"), question(2, row=6), question(1, row=7, text="b")]
    assert [(q["id"], q["question"]) for q in released_questions(twice)] == [(1, "b"), (2, "")]
    assert released_questions(rows[:1]) == []


@pytest.mark.parametrize(
    ("questions", "says"),
    [
        ([], "there is no question"),
        ([question(1), question(1)], "question 1 is there 2 times"),
        ([question(1), question(2, [7], row=41)], "question 2 (row 42) depends on question 7"),
        ([question(1, [1])], "in a circle: 1"),
        ([question(1, [3]), question(2, [1]), question(3, [2]), question(4, [3])],
         "in a circle: 1, 2, 3"),
    ],
)  # fmt: skip
def test_faults_are_told(questions, says):
    (fault,) = faults_of(questions)
    assert says in fault


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 10), st.randoms())
def test_every_circle_is_found(size, rng):
    """A ring of questions with any others hanging on it."""
    ring = [question(n, [n % size + 1]) for n in range(1, size + 1)]
    hanging = [question(size + n, [rng.randint(1, size)]) for n in range(1, 4)]
    questions = ring + hanging
    rng.shuffle(questions)
    (fault,) = faults_of(questions)
    named = sorted(int(part) for part in fault.rpartition(": ")[2].split(", "))
    assert named == list(range(1, size + 1))


def test_a_long_chain_is_no_circle():
    numbers = list(range(1, 400))
    chain = [question(1), *(question(b, [a]) for a, b in pairwise(numbers))]
    random.Random(0).shuffle(chain)
    assert faults_of(chain) == []
    answers = dict.fromkeys(numbers, True) | {200: False}
    assert sum(counted(chain, answers).values()) == 199
