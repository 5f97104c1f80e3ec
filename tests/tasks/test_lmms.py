"""`lmms:TASK` and the sixteen by lmms-eval, on local rows in the official schemas."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from official_rows.answers import answer_of
from official_rows.benchmarks import chartqa, gqa, mathvista, mme, ocrbench, realworldqa, write_all
from official_rows.files import write_dataset
from official_rows.model import Answers, settings_for

from unimm_eval import evaluate
from unimm_eval.api import UserError
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import find_tasks, task_entries
from unimm_eval.judges import Answer
from unimm_eval.tasks.child import library

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
SIXTEEN = "vqa16:lmms"


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """A hub that is not there, and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield
    library("unimm_eval.tasks.lmms.server").close()


@pytest.fixture
def run(tmp_path):
    """`run("gqa:lmms", parts, model)`: the record of a run on one data set."""

    def run_on(name, parts, model=None, *, output="run", folder="data", **options):
        source = write_dataset(tmp_path / folder, parts)
        return evaluate(
            model or Answers(),
            name,
            output=tmp_path / output,
            data_dir=tmp_path / "pins",
            settings={name: {"path": str(source)}},
            **options,
        )

    return run_on


@pytest.mark.timeout(1800)
def test_all_sixteen_equal_simple_evaluate_to_the_last_digit(tmp_path):
    rows = tmp_path / "rows"
    write_all(rows)
    script = [sys.executable, str(HERE / "lmms_reference.py"), str(rows)]
    done = subprocess.run(
        script, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True
    )
    expected = json.loads(done.stdout.strip().splitlines()[-1])
    record = evaluate(
        Answers(),
        SIXTEEN,
        output=tmp_path / "run",
        data_dir=tmp_path / "pins",
        settings={SIXTEEN: {"path": str(rows)}},
    )
    found = {
        name: {metric: record.get(f"{name}:lmms", metric).value for metric in numbers}
        for name, numbers in expected.items()
    }
    assert len(expected) == 16
    assert found == expected
    assert all(any(numbers.values()) for numbers in found.values())
    mean = record.get(SIXTEEN)
    assert 0 < mean.value < 100
    assert not any(row.unscored for row in record.results)
    assert not Path("submissions").exists()


@pytest.mark.timeout(1800)
def test_killed_twenty_times_a_run_ends_as_if_it_never_was(tmp_path):
    rows = tmp_path / "rows"
    write_all(rows)
    names = ",".join(settings_for(rows))
    script = [sys.executable, str(HERE / "lmms_kills.py"), str(rows), str(tmp_path), names, "20"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["status"] == 0
    assert report["equal"]
    assert report["kills"] == 20
    assert not report["asked_when_done"]
    assert report["asked_again"] == 0
    assert max(report["lost"]) <= 5  # a batch


def test_questions_about_one_picture_share_a_cluster(run):
    record = run("gqa:lmms", gqa())
    result = record.get("gqa:lmms")
    assert (result.n, result.facts["clusters"]) == (32, 16)
    assert record.run.tasks["gqa:lmms"]["data"].keys() == {"lmms-lab-encoder/GQA"}


def test_a_grader_with_a_memory_gives_the_same_number_twice(run):
    first = run("ocrbench:lmms", ocrbench(), output="one").get("ocrbench:lmms")
    second = run("ocrbench:lmms", ocrbench(), output="two").get("ocrbench:lmms")
    assert first.value == second.value > 0
    assert first.stderr > 0


def test_bad_rows_and_odd_answers_are_named_and_the_run_goes_on(run):
    parts = realworldqa()
    split, columns, rows = parts["default"]
    rows[0]["image"] = b"no picture at all"
    rows[3]["image"] = None
    parts["default"] = (split, columns, rows)
    said = {4: "", 5: "word " * 10_000, 6: "9"}
    model = Answers()
    asked = []

    def answer(prompt, arrays):
        asked.append(prompt)
        return said.get(len(asked) - 1, answer_of(prompt, arrays))

    model.answer = answer
    result = run("realworldqa:lmms", parts, model).get("realworldqa:lmms")
    assert (result.n, result.unscored, len(asked)) == (30, 2, 30)
    reasons = " ".join(result.facts["unscored_because"])
    assert "does not decode" in reasons
    assert "no picture in column image" in reasons
    assert result.facts["odd_answers"] == {
        "an answer of more than 20,000 characters": 1,
        "an empty answer": 1,
        "an option outside A-Z": 1,
    }


def test_a_broken_picture_costs_gqa_its_own_questions_alone(run):
    parts = gqa()
    parts["testdev_balanced_images"][2][2]["image"] = b"broken"
    result = run("gqa:lmms", parts).get("gqa:lmms")
    assert (result.n, result.unscored) == (30, 2)


def test_mme_under_an_odd_limit_leaves_out_the_lone_question(run):
    result = run("mme:lmms", mme(), limit=7).get("mme:lmms")
    assert result.limited
    assert result.n <= 6


class Reader:
    """A judge that reads one answer, and of another says what is no answer."""

    identity = "reader-1"
    varies = False

    def __init__(self):
        self.asked = []

    def answers(self, questions):
        for question in questions:
            (text,) = question.parts
            self.asked.append(text)
            yield Answer(key=question.key, text="temple" if "photograph" in text else "")


def mathvista_task(tmp_path, judge=None):
    (entry,) = find_tasks(["mathvista:lmms"], task_entries())
    source = write_dataset(tmp_path / "mathvista", mathvista())
    task = make_task(entry, {"path": str(source)}, tmp_path / "pins")
    if judge is not None:
        task.use_judge(judge)
    return task


def test_what_takes_a_judge_is_unscored_without_one_and_never_guessed(tmp_path):
    model = Answers(answer=lambda prompt, arrays: "I think that it is 3")
    with pytest.raises(UserError, match="takes a judge"):
        evaluate(model, [mathvista_task(tmp_path)], output=tmp_path / "none")
    judge = Reader()
    record = evaluate(model, [mathvista_task(tmp_path, judge)], output=tmp_path / "judged")
    result = record.get("mathvista:lmms")
    assert result.n == sum("photograph" in text for text in judge.asked) > 0
    assert result.unscored == 32 - result.n
    assert 0 < result.value < 100
    assert result.facts["judge"] == "reader-1"


def test_data_that_moved_is_named(run, tmp_path):
    run("chartqa:lmms", chartqa())
    parts = chartqa()
    parts["default"][2][0]["question"] = "how tall is it?"
    with pytest.raises(UserError, match=r"data\.lmms-lab-encoder/ChartQA: \"sha256:\w+"):
        run("chartqa:lmms", parts)
    assert run("chartqa:lmms", parts, output="new").get("chartqa:lmms").n == 32


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lmms:mmme", "Did you mean"),
        ("lmms:mmmu", "is a group"),
        ("lmms:worldvqa_mc_ppl", "compares likelihoods"),
        ("lmms:pope", "cannot be loaded from the hub"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_model(tmp_path, name, what):
    with pytest.raises(UserError, match=what):
        evaluate(Answers(), name, output=tmp_path / "run", data_dir=tmp_path)


def test_any_other_task_passes_through(run):
    parts = realworldqa()
    rows = parts["default"][2]
    pope = [
        {
            "id": str(number),
            "question_id": str(number),
            "question": f"Is there a circle? {number}",
            "answer": ("yes", "no")[number % 2],
            "image_source": "world",
            "image": row["image"],
            "category": "random",
        }
        for number, row in enumerate(rows)
    ]
    names = [name for name in pope[0] if name != "image"]
    columns = {**dict.fromkeys(names, "string"), "image": "picture"}
    record = run("lmms:pope", {"default": ("test", columns, pope)})
    assert {row.metric for row in record.results} >= {"pope_accuracy"}
    accuracy = record.get("lmms:pope", "pope_accuracy")
    assert 0 <= accuracy.value <= 1
    assert accuracy.n == len(pope)


def test_a_stop_that_the_task_does_not_name_is_none(tmp_path):
    task = mathvista_task(tmp_path)
    assert task.generation()["stop"] == []
    assert task.generation()["max_new_tokens"] == 16_384
