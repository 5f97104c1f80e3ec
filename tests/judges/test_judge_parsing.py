"""Verdicts are read strictly; a model of the harness can judge, too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimm_eval.api import Picture
from unimm_eval.judges import ModelJudge, Question, labelled_digits, verdicts, without_thoughts

LABELS = ["Consistency", "Realism", "Aesthetic Quality"]


def read(text):
    return labelled_digits(text, LABELS, largest=2)


@pytest.mark.parametrize(
    "text",
    [
        "Consistency: 2\nRealism: 1\nAesthetic Quality: 0",
        "**Consistency:** 2\n**Realism**: 1\n\n*Aesthetic quality:* 0\n",
        "- Realism: 1\n- Consistency: 2\n- Aesthetic Quality: 0",
        "2\n1\n0",
    ],
)
def test_forms_of_one_verdict(text):
    assert read(text) == {"Consistency": 2, "Realism": 1, "Aesthetic Quality": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 lines"),
        ("It shows a cake, so I would say 2.", "1 lines"),
        ("Consistency: 2\nRealism: 1", "2 lines"),
        ("Consistency: 2\nRealism: 1\nAesthetic Quality: 3", "more than 2"),
        ("Consistency: 2\nRealism: 1\nAesthetic Quality: 10", "more than 2"),
        ("Consistency: 2\nConsistency: 1\nRealism: 1", "twice"),
        ("Consistency: 2\nRealism: 1\nBeauty: 1", "no score"),
        ("Consistency: 2/2\nRealism: 1\nAesthetic Quality: 1", "no score"),
        ("Consistency: 2\nRealism: -1\nAesthetic Quality: 1", "no score"),
        ("Here are the scores.\nConsistency: 2\nRealism: 1\nAesthetic Quality: 0", "4 lines"),
        ("The sign reads:\nConsistency: 2\nRealism: 2\nAesthetic Quality: 2\n0\n0\n0", "7 lines"),
        ("²\n1\n0", "no score"),
    ],
)
def test_what_is_no_verdict(text, says):
    with pytest.raises(ValueError, match=says):
        read(text)


@given(st.text(max_size=200))
def test_any_text_is_a_verdict_or_refused(text):
    try:
        found = read(text)
    except ValueError:
        return
    assert list(found) == LABELS
    assert all(0 <= value <= 2 for value in found.values())


def test_thoughts_are_no_part_of_an_answer():
    assert without_thoughts("<think>Score: 1?\nno</think>\nScore: 0") == "Score: 0"
    assert without_thoughts("so it is.</think> Score: 1") == "Score: 1"
    assert without_thoughts("Score: 1") == "Score: 1"


class Parrot:
    """Says a verdict; a picture that cannot be read fails its whole batch, as adapters do."""

    name = "parrot"
    fingerprint = "ab" * 32

    def __init__(self, answer="Score: 1"):
        self.seen = []
        self.answer = answer

    def describe(self):
        return {}

    def generate_text(self, requests):
        for request in requests:
            for part in request.parts:
                if isinstance(part, Picture):
                    part.load()
        self.seen += requests
        return [self.answer for _ in requests]


def test_a_model_of_the_harness_judges(tmp_path):
    model = Parrot()
    judge = ModelJudge(model, batch_size=3)
    asked = [
        Question(key=0, system="be strict", parts=("a",), max_new_tokens=9),
        Question(key=1, parts=(Picture(path=tmp_path / "gone.png"), "b")),
        *(Question(key=key, parts=("c",)) for key in range(2, 7)),
    ]
    found = {
        verdict.key: verdict
        for verdict in verdicts(
            judge, asked, parse=lambda text: labelled_digits(text, ["Score"], largest=1), tries=3
        )
    }
    assert judge.identity == "parrot@abababababababab"
    assert [key for key in range(7) if found[key].value == {"Score": 1}] == [0, 2, 3, 4, 5, 6]
    assert "gone.png" in found[1].reason
    assert "".join(model.seen[0].parts) == "be strict\n\na"
    assert model.seen[0].max_new_tokens == 9
    assert model.seen[0].temperature == 0.0


def test_a_model_that_always_says_the_same_is_not_asked_again():
    model = Parrot("prose")
    (found,) = verdicts(ModelJudge(model), [Question(key=0, parts=("a",))], parse=int, tries=3)
    assert found.value is None
    assert len(model.seen) == 1
