"""The parts of `lmms:` that need no lmms-eval."""

import base64
import math

import numpy as np
import pytest

from unimm_eval import stats
from unimm_eval.adapters.lmms import LmmsModel, Spec, model_names
from unimm_eval.api import Output, Sample, UserError, encode_png
from unimm_eval.judges import Answer
from unimm_eval.tasks.lmms import grades, mmbench
from unimm_eval.tasks.lmms.answering import NoDice, Undecided
from unimm_eval.tasks.lmms.child import Revisions
from unimm_eval.tasks.lmms.errors import jackknife, metric
from unimm_eval.tasks.lmms.grading import graded
from unimm_eval.tasks.lmms.task import kind_of


def test_the_jackknife_of_a_mean_is_its_clustered_error():
    rng = np.random.default_rng(3)
    clusters = [f"c{number // 5}" for number in range(200)]
    values = list(rng.random(200))
    without = [
        float(np.mean([values[row] for row in rows]))
        for rows in grades.deletions(clusters, groups=40)
    ]
    assert jackknife(without) == pytest.approx(stats.clustered_mean(values, clusters).stderr)


def test_groups_of_clusters_are_left_out_whole():
    clusters = [f"c{number % 7}" for number in range(50)]
    kept = grades.deletions(clusters, groups=3)
    left_out = [{clusters[row] for row in set(range(50)) - set(rows)} for rows in kept]
    assert sum(len(names) for names in left_out) == 7
    assert set().union(*left_out) == set(clusters)


def test_a_number_is_lmms_evals_own_and_its_error_ours():
    found = {"value": 0.1 + 0.2, "n": 3, "without": [0.2, 0.3, None], "each": None}
    made = metric("m", found, unscored=2, facts={"a": 1})
    assert (made.value, made.stderr, made.n, made.unscored) == (0.1 + 0.2, None, 3, 2)
    whole = metric("m", {**found, "without": [0.2, 0.3, 0.4]}, unscored=0, facts={})
    assert whole.stderr == pytest.approx(jackknife([0.2, 0.3, 0.4]))
    assert whole.interval[0] < whole.value < whole.interval[1]


@pytest.mark.parametrize(
    "value",
    [
        {"a": (1, [2.5, None])},
        {1: "x", "y": {2, 3}},
        [True, -0.0, "ü"],
        {"": 1},
        {"nested": {3: ()}},
    ],
)
def test_what_graders_say_survives_json(value):
    import json

    assert grades.unpacked(json.loads(json.dumps(grades.packed(value)))) == value


def test_what_is_no_json_is_refused_by_its_kind():
    with pytest.raises(TypeError, match="object"):
        grades.packed({"a": object()})
    assert grades.packed({"a": np.float64(0.5), "b": np.arange(2)}) == {"a": 0.5, "b": [0, 1]}


def test_a_grader_leaves_its_module_as_it_was():
    body = "    counts['a'] += sum(values)\n    return counts['a']"
    source = f"counts = {{'a': 0}}\ndef total(values):\n{body}"
    space: dict = {"__name__": "grader"}
    code = compile(source, "grader", "exec")
    exec(code, space)  # noqa: S102 - a module with state
    assert [grades.called(space["total"], [1, 2], output=".") for _ in range(3)] == [3.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("answer", "target", "notes"),
    [
        ("  ", "A", ["an empty answer"]),
        ("word " * 10_000, "red", ["an answer of more than 20,000 characters"]),
        ("7", "A", ["an option outside A-Z"]),
        ("(B)", "A", []),
        ("because of it", "A", []),
        ("red", "red", []),
    ],
)
def test_odd_answers_are_named(answer, target, notes):
    assert grades.notes_on(answer, target) == notes


class Options:
    """MMBench's evaluator as far as it is asked: an answer names an option or none."""

    def prefetch_answer(self, row):
        return row["prediction"] if row["prediction"] in "ABCD" else False


def test_a_question_without_an_option_is_settled_by_another_wrong_one_alone():
    right = {"prediction": "A", "answer": "A"}
    wrong = {"prediction": "B", "answer": "A"}
    read = {"prediction": "it is the first", "answer": "A"}
    rows = [right, read, right, None, wrong, None]
    indices = [1, 1_000_001, 2, 1_000_002, 3, 1_000_003]
    found = mmbench.settled(Options(), rows, indices)
    assert found == [True, True, False, False, True, True]


def test_nothing_is_drawn_at_random():
    dice = NoDice()
    dice.seed(3)
    with pytest.raises(Undecided):
        dice.randint(0, 4)


def mme_aggregate_results(values):
    raise AssertionError


def ocrbench_aggregate_accuracy(values):
    return sum(values) / 1000


def test_documents_that_an_aggregator_cannot_take_are_told_apart():
    twin, lone = {"category": "a", "question_id": "1"}, {"category": "a", "question_id": "2"}
    assert grades.paired_rows(mme_aggregate_results, [twin, lone, twin]) == [True, False, True]
    assert grades.paired_rows(ocrbench_aggregate_accuracy, [1, 0]) == [True, True]
    assert grades.scale_of(ocrbench_aggregate_accuracy, kept=8, asked=10) == 1.25
    assert grades.scale_of(mme_aggregate_results, kept=8, asked=10) == 1.0
    assert grades.tried(mme_aggregate_results, [twin], output=".") is None
    with pytest.raises(AssertionError):
        grades.called(mme_aggregate_results, [twin], output=".")


def test_reasons_are_counted_without_their_rows():
    assert kind_of("row 17: no picture in column image") == "no picture in column image"


def test_the_first_revision_is_kept(tmp_path):
    revisions = Revisions(tmp_path)
    assert revisions.read() == {}
    revisions.keep({"org/a": "a" * 40, "org/b": "unknown", "org/c": "sha256:" + "0" * 64})
    revisions.keep({"org/a": "b" * 40, "org/d": "d" * 40})
    assert Revisions(tmp_path).read() == {"org/a": "a" * 40, "org/d": "d" * 40}


class AsksTwice:
    """A grader that shows a judge a picture, then asks once more."""

    def judge(self, answers):
        return [self.one(**answer) for answer in answers]

    def one(self, *, row, text, replies):
        asked = [f"{text}-{n}" for n in range(2)]
        missing = [key for key in asked if key not in replies]
        if text == "fine" or not missing:
            said = float(len("".join(replies.values())))
            return {"metrics": {"m": said}, "values": {"m": said}, "notes": []}
        url = "data:image/png;base64," + base64.b64encode(
            encode_png(np.full((2, 2, 3), 9, np.uint8))
        ).decode("ascii")
        content = [
            {"type": "text", "text": missing[0]},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        messages = [{"role": "system", "content": "judge"}, {"role": "user", "content": content}]
        return {
            "asks": {"key": missing[0], "messages": messages, "max_tokens": 7},
            "notes": ["odd"],
        }


class Replies:
    identity = "replies"
    varies = False

    def answers(self, questions):
        for question in questions:
            text, picture = question.parts
            assert question.system == "judge"
            assert picture.load().tolist() == np.full((2, 2, 3), 9).tolist()
            if text.startswith("down"):
                yield Answer(key=question.key, error="the judge was down", outage=True)
            else:
                said = "" if text.startswith("mute") else "yes"
                yield Answer(key=question.key, text=said, log={"response": said})


def scores_of(texts, judge):
    samples = [Sample(id=text, inputs={"row": row}, cluster="c") for row, text in enumerate(texts)]
    outputs = [Output(sample_id=text, values={"answer": text}) for text in texts]
    found = graded(AsksTwice(), samples, outputs, judge=judge, fix="--set x")
    return {score.sample_id: score for score in found}


def test_a_grader_may_ask_a_judge_again_and_again():
    scores = scores_of(["fine", "hard", "mute", "down"], Replies())
    assert scores["fine"].values == {"m": 0.0}
    assert scores["hard"].values == {"m": 6.0}
    assert len(scores["hard"].payload["asked"]) == 2
    assert "is empty" in scores["mute"].unscored
    assert not scores["mute"].outage
    assert scores["down"].outage
    assert math.isclose(len(scores), 4)


def test_without_a_judge_nothing_is_guessed():
    scores = scores_of(["fine", "hard"], None)
    assert scores["fine"].unscored is None
    assert "takes a judge" in scores["hard"].unscored
    assert scores["hard"].payload["notes"] == ["odd"]
    assert not scores["hard"].outage


def test_specs_of_models_are_read_without_importing_lmms_eval():
    import sys

    before = "lmms_eval" in sys.modules
    parsed = Spec.parse("lmms:qwen2_5_vl?pretrained=Org/Name&max_pixels=100")
    assert parsed.arguments == {"pretrained": "Org/Name", "max_pixels": "100"}
    assert {"llava_hf", "huggingface", "openai_compatible"} <= model_names()
    able = {"GeneratesText", "ReadsPictures"}
    assert LmmsModel.capabilities_for("lmms:llava_hf") == able == LmmsModel.capabilities
    assert ("lmms_eval" in sys.modules) == before


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("lmms:lava_hf?pretrained=a/b", "Did you mean llava_hf"),
        ("lmms:llava_hf?pretrained", "is no argument"),
        ("lmms:llava_hf?a=1,b=2", "is no argument"),
    ],
)
def test_specs_that_cannot_be_are_refused(spec, what):
    with pytest.raises(UserError, match=what):
        LmmsModel.capabilities_for(spec)


def test_precision_is_an_argument_of_the_model():
    with pytest.raises(UserError, match="dtype"):
        LmmsModel.load("lmms:llava_hf", device="cpu", dtype="bfloat16")
