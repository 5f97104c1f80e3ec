"""The sixteen by name on small rows in the official schemas: read, asked, graded, summed up."""

import hashlib
from dataclasses import dataclass, field

import pytest
from task_runs import run_task
from vqa16_rows import NAMES, write_rows

from unimm_eval.api import Context
from unimm_eval.engine.registry import task_entries


@dataclass
class Answers:
    """Says `say(request)` and remembers what it was asked."""

    say: object
    name: str = "answers"
    fingerprint: str = "a" * 64
    asked: list = field(default_factory=list)

    def describe(self):
        return {}

    def generate_text(self, requests):
        self.asked += requests
        return [self.say(request) for request in requests]


@pytest.fixture(scope="session")
def rows_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for name in NAMES:
        write_rows(folder, name)
    return folder


@pytest.fixture
def make(rows_folder, tmp_path):
    def made(name, path=rows_folder, **settings):
        entry = task_entries()[name]
        kind = entry.load()
        return kind(entry.card, kind.Config(path=path, **settings), data_dir=tmp_path)

    return made


def right_answer(gold):
    return gold.get("letter", "").upper() or gold.get("answer") or gold["answers"][0]


def oracle(task):
    """A model that knows the answer to every (picture, question)."""
    known = {
        (sample.inputs["picture"], sample.inputs["question"]): right_answer(sample.inputs["gold"])
        for sample in task.samples()
        if sample.inputs["gold"]
    }
    digest = {}
    for sample in task.samples():
        if not sample.inputs["fault"]:
            key = hashlib.sha256(task._decode(sample.inputs).tobytes()).hexdigest()
            digest[key] = sample.inputs["picture"]

    def say(request):
        picture, question = request.parts
        return known[digest[hashlib.sha256(picture.load().tobytes()).hexdigest()], question]

    return Answers(say)


@pytest.mark.parametrize("name", NAMES)
def test_who_knows_is_always_right(make, tmp_path, name):
    for grading in ("released", "corrected"):
        task = make(name, grading=grading)
        run = run_task(task, oracle(task), Context(device="cpu", data_dir=tmp_path))
        assert list(run.metrics) == list(task.card.metrics)
        for metric_name, spec in task.card.metrics.items():
            metric = run.metrics[metric_name]
            # Released, RealWorldQA compares the first word alone: one of three rows has two.
            top = 200 / 3 if (name, grading) == ("realworldqa", "released") else spec.range[1]
            assert metric.value == pytest.approx(top)
            assert metric.unscored == 0


ODD = ["", " ", "...", "ééé", "(", "answer is", "\x00", "𝟘", "Z" * 40_000, "word " * 10_000]


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_is_too_odd(make, tmp_path, name):
    """Empty ones, 10,000 tokens, letters outside A to Z: wrong, and the run goes on."""
    task = make(name)
    for answer in ODD:
        model = Answers(lambda request, answer=answer: answer)
        run = run_task(task, model, Context(device="cpu", data_dir=tmp_path), batch_size=100)
        headline = next(iter(run.metrics.values()))
        assert headline.value == pytest.approx(0.0)
        assert headline.facts.get("empty_answers", 0) == (0 if answer.strip() else len(run.samples))
