"""Graders: no text crashes them, and where another implementation has the same rule they agree."""

import contextlib
import importlib.util
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unimm_eval.tasks.vqa16.extraction import extraction, read_extracted
from unimm_eval.tasks.vqa16.graders import GRADERS, anls, normalized, stated_letter
from unimm_eval.tasks.vqa16.summaries import COGNITION, PERCEPTION
from unimm_eval.tasks.vqa16.units import (
    Question,
    all_right,
    mean_of,
    mme_pairs,
    questions_alone,
)

quick = settings(deadline=None, max_examples=60)

OPTIONS = ["red", "a cat", "12", "turn left"]
GOLD = {
    "answer": "red",
    "answers": ["red", "Red."],
    "letter": "a",
    "options": OPTIONS,
    "formula": False,
}
OPEN = {key: value for key, value in GOLD.items() if key not in ("letter", "options")}
ANSWERS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["", "A", "(b)", "C.", "answer is: d", "Yes, it is", "12%", "nan", "1e999"]),
    st.lists(st.sampled_from(["a", "b", "answer is", ":", "red", "12", "\n", "."]), max_size=8).map(
        " ".join
    ),
)


def module(path):
    """A file of lmms-eval alone: its package takes many seconds to import."""
    root = importlib.util.find_spec("lmms_eval")
    assert root is not None
    spec = importlib.util.spec_from_file_location(
        f"theirs_{Path(path).stem}_{len(path)}",
        Path(root.submodule_search_locations[0], "tasks", path),
    )
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def chartqa():
    return module("chartqa/utils.py")


@pytest.fixture(scope="module")
def processor():
    return module("_task_utils/vqa_eval_metric.py").EvalAIAnswerProcessor()


@pytest.fixture(scope="module")
def mme():
    return module("mme/utils.py")


@quick
@given(answer=ANSWERS)
@example(answer="x" * 40_000)
@example(answer="answer is " * 10_000)
@example(answer="1" * 10_000)
def test_every_grader_takes_any_text(answer):
    for name, grader in GRADERS.items():
        for corrected in (False, True):
            for gold in (GOLD, OPEN) if name == "number" else (GOLD,):
                grade = grader(answer.strip(), gold, corrected)
                assert 0.0 <= grade.value <= 1.0


@quick
@given(letter=st.sampled_from("abcd"), wrap=st.sampled_from(["{}", "({})", "{}.", " {}:", "[{}]"]))
def test_a_letter_alone_is_read_by_both_gradings(letter, wrap):
    gold = {"letter": letter, "options": OPTIONS}
    for shown in (letter, letter.upper()):
        answer = wrap.format(shown).strip()
        assert GRADERS["letter"](answer, gold, True).value == 1.0
        if "[" not in wrap:
            assert GRADERS["letter"](answer, gold, False).value == 1.0


@pytest.mark.parametrize(
    ("answer", "released", "corrected"),
    [
        ("because it is so", "b", None),  # the first character of a word
        ("The answer is: C", ":", "c"),  # the colon stays
        ("The answer is (D).", "d", "d"),
        ("a cat", "a", "b"),  # an option's text, not the letter A
        ("B a cat", "b", "b"),
        ("Turn left.", "t", "d"),
        ("**B**", "*", "b"),
        ("E", "e", "e"),  # beyond the options: wrong, not unread
        ("I think it could be A or B", "i", None),
        ("A. because of the colour", "a", "a"),
        ("", "", None),
    ],
)
def test_what_counts_as_a_letter(answer, released, corrected):
    gold = {"letter": "z", "options": OPTIONS}
    assert GRADERS["letter"](answer, gold, False).said == released
    assert stated_letter(answer, OPTIONS) == corrected
    grade = GRADERS["letter"](answer, gold, True)
    assert grade.unread == (corrected is None)
    assert grade.stray == (corrected is None or corrected not in "abcd")


def test_defects_that_are_kept_and_mended():
    def graded(name, answer, gold):
        return tuple(GRADERS[name](answer, gold, corrected).value for corrected in (False, True))

    choice = {"letter": "b", "options": OPTIONS}
    reasoned = "There are two of them. The answer is B."
    assert graded("number", reasoned, choice) == (0.0, 1.0)  # the cleanup never runs
    assert graded("number", "42", {"answer": "40"}) == (1.0, 1.0)
    assert graded("number", "42.05", {"answer": "40"}) == (1.0, 0.0)  # 5% of the answer
    assert graded("number", "38", {"answer": "40"}) == (0.0, 1.0)
    assert graded("relaxed", "10%", {"answer": "0.1"}) == (0.0, 1.0)
    assert graded("relaxed", "10.4%", {"answer": "10%"}) == (0.0, 1.0)
    assert graded("yes_no", "Yes, there is.", {"answer": "Yes"}) == (0.0, 1.0)
    assert graded("yes_no", "Nothing", {"answer": "No"}) == (0.0, 0.0)
    assert graded("first_word", "Turn left.", {"answer": "Turn left"}) == (0.0, 1.0)
    assert graded("first_word", "B. The left one", {"answer": "B"}) == (0.0, 1.0)
    assert graded("first_word", "", {"answer": "B"}) == (0.0, 0.0)
    assert graded("letter_or_index", "1", choice) == (1.0, 0.0)
    assert graded("letter_or_text", "(b)", choice) == (0.0, 1.0)
    stops = "." * 40 + "x"
    assert graded("soft", stops, {"answers": ["x"] * 10}) == (0.0, 1.0)


def test_only_a_sentence_about_a_number_is_left_to_a_judge():
    def unread(answer, gold):
        return GRADERS["number"](answer, gold, True).unread

    assert unread("There are four apples on the table", {"answer": "4"})
    assert not unread("5", {"answer": "4"})
    assert not unread("green", {"answer": "red"})
    assert unread("It is hard to say what colour this thing has", {"answer": "red"})
    assert not unread("", {"answer": "4"})


@quick
@given(
    a=st.one_of(
        st.floats(-1e6, 1e6).map(str), st.integers(-100, 100).map(str), st.text(max_size=6)
    ),
    b=st.one_of(
        st.floats(-1e6, 1e6).map(str), st.integers(-100, 100).map(str), st.text(max_size=6)
    ),
    sign=st.sampled_from(["", "%"]),
)
@example(a="10", b="10", sign="%")
def test_relaxed_accuracy_is_that_of_lmms_eval(chartqa, a, b, sign):
    """But for a right answer of zero, where theirs compares the text."""
    theirs = chartqa.relaxed_correctness(f"{a}{sign}", f"{b}{sign}")
    ours = GRADERS["relaxed"](f"{a}{sign}", {"answer": f"{b}{sign}"}, True).value
    zero = b.strip("-+0. ") == "" or "nan" in (a.lower(), b.lower())
    with contextlib.suppress(ValueError):
        zero = zero or float(b) == 0.0
    if not zero:
        assert ours == float(theirs)


WORDS = st.lists(
    st.sampled_from(
        [
            "the",
            "stop",
            "Ten",
            "none",
            "dont",
            "it's",
            "1,000",
            "a-b",
            "co.",
            "3.5",
            "?",
            "(x)",
            "y'all",
        ]
    ),
    max_size=8,
).map(" ".join)


@quick
@given(text=st.one_of(st.text(max_size=40), WORDS))
def test_the_normal_form_of_soft_accuracy_is_that_of_everybody(processor, text):
    assert normalized(text) == processor(text)


def test_every_contraction_is_known(processor):
    for spelled in processor.CONTRACTIONS:
        assert normalized(spelled) == processor(spelled), spelled


@quick
@given(said=WORDS, people=st.lists(WORDS, min_size=10, max_size=10))
@example(said="stop", people=["stop"] * 3 + ["go"] * 7)
def test_soft_accuracy_is_that_of_lmms_eval(processor, said, people):
    mine = processor(said)
    theirs = [processor(person) for person in people]
    left_out = []
    for index in range(10):
        others = theirs[:index] + theirs[index + 1 :]
        left_out.append(min(1, others.count(mine) / 3))
    value = GRADERS["soft"](said, {"answers": people}, False).value
    assert value == pytest.approx(sum(left_out) / 10)


@quick
@given(a=st.text("ab c", max_size=8), b=st.text("ab c", max_size=8))
def test_anls_is_an_edit_distance(a, b):
    one, other = (" ".join(text.split()) for text in (a, b))
    table = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        row = [i]
        for j, another in enumerate(other, start=1):
            row.append(min(table[j] + 1, row[-1] + 1, table[j - 1] + (letter != another)))
        table = row
    longer = max(len(one), len(other))
    similarity = 1 - table[-1] / longer if longer else 1.0
    assert anls(a, [b]) == pytest.approx(similarity if similarity >= 0.5 else 0.0)
    assert anls(a, [b, a.upper()]) == 1.0


@quick
@given(
    answers=st.lists(
        st.sampled_from(["Yes", "no", "yes.", "No.", "other"]), min_size=2 * 14, max_size=2 * 14
    )
)
def test_mme_is_that_of_lmms_eval_where_answers_are_bare(mme, answers):
    questions, theirs = [], {"mme_perception_score": [], "mme_cognition_score": []}
    for place, category in enumerate((*PERCEPTION, *COGNITION)):
        for turn, right in enumerate(("Yes", "No")):
            answer = answers[2 * place + turn]
            value = GRADERS["yes_no"](answer, {"answer": right}, False).value
            questions.append(
                Question(value=value, cluster=category, unit=category, of=2, stratum=category)
            )
            row = {"answer": right, "category": category, "question_id": category}
            for name, result in mme.mme_process_results(row, [answer]).items():
                theirs[name].append(result)
    for name, names in (("mme_perception_score", PERCEPTION), ("mme_cognition_score", COGNITION)):
        ours = mean_of("x", mme_pairs(questions), scale=200 * len(names), strata=names)
        assert ours.value == pytest.approx(mme.mme_aggregate_results(theirs[name]))


def test_units_are_whole_or_left_out():
    def question(value, unit, cluster="p", **fields):
        return Question(value=value, unit=unit, of=2, cluster=cluster, chance=0.5, **fields)

    questions = [
        question(1.0, "a"),
        question(1.0, "a"),
        question(1.0, "b", "q"),
        question(0.0, "b", "q"),
        question(1.0, "c", "r"),
        question(None, "c", "r"),
        question(1.0, "cut", "s"),
    ]
    units = all_right(questions)
    assert [unit.value for unit in units.whole] == [1.0, 0.0]
    assert (units.cut, units.unscored) == (1, 2)
    metric = mean_of("pairs", units)
    assert (metric.value, metric.n, metric.chance) == (50.0, 2, 25.0)
    assert metric.facts["units_cut_by_the_limit"] == 1
    assert mme_pairs(questions).whole[0].chance == pytest.approx(0.375)
    assert questions_alone(questions).unscored == 1
    assert mean_of("strata", units, strata=("", "lacking")) is None


def test_errors_are_clustered_by_picture():
    """Thirty questions a picture of which a picture decides all: 30 times as many as there are."""
    alike = [Question(value=float(n % 2), cluster=str(n)) for n in range(20) for _ in range(30)]
    apart = [Question(value=float(n % 2), cluster=str(n)) for n in range(600)]
    one, other = (mean_of("x", questions_alone(questions)) for questions in (alike, apart))
    assert one.value == other.value == 50.0
    assert one.stderr == pytest.approx(other.stderr * 30**0.5, rel=0.03)
    assert one.facts["stderr_if_unclustered"] == pytest.approx(other.stderr, rel=1e-6)


def test_the_judge_is_asked_to_extract_and_does_not_see_what_is_right():
    inputs = {"question": "How many?", "gold": {"answer": "40321"}}
    asked = extraction(inputs, "some " * 10_000 + "forty")
    assert "40321" not in asked
    assert "forty" in asked
    assert len(asked) < 10_000
    assert read_extracted("<think>hm</think> B ") == "B"
    for text in ("", "none", "None.", "two\nlines", "x" * 200):
        with pytest.raises(ValueError, match=r"is no single short line|states none"):
            read_extracted(text)
