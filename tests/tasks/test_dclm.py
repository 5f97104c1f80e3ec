"""`dclm:mini`: perplexity against the truth."""

import math

import pytest
from task_runs import UniformText, run_task

from unimm_eval.api import TextScore
from unimm_eval.world import score


class Oracle(UniformText):
    """Knows the language, with words as tokens; `excess` nats a token more than it must pay."""

    excess = 0.0

    def _score(self, text):
        tokens = len(text.split())
        return TextScore(
            nats=score(text) + self.excess * tokens, tokens=tokens, bytes=len(text.encode())
        )


def test_knowing_the_language_is_a_ratio_of_one(make_task, context):
    metrics = run_task(make_task("dclm:mini", documents=50), Oracle(), context).metrics
    assert metrics["ratio"].value == pytest.approx(1.0)
    assert metrics["ratio"].stderr == pytest.approx(0.0, abs=1e-9)
    assert metrics["perplexity"].value == pytest.approx(metrics["true_perplexity"].value)


def test_the_ratio_is_what_is_paid_too_much(make_task, context):
    class Wasteful(Oracle):
        excess = math.log(1.1)

    metrics = run_task(make_task("dclm:mini", documents=50), Wasteful(), context).metrics
    assert metrics["ratio"].value == pytest.approx(1.1)
    assert metrics["perplexity"].value == pytest.approx(1.1 * metrics["true_perplexity"].value)


def test_a_uniform_model_is_at_chance(make_task, context):
    metrics = run_task(make_task("dclm:mini"), UniformText(), context).metrics
    assert metrics["perplexity"].value == pytest.approx(256) == metrics["perplexity"].chance
    for name in ("perplexity", "ratio", "bits_per_byte"):
        low, high = metrics[name].interval
        assert low <= metrics[name].chance <= high
    low, high = metrics["true_perplexity"].interval
    assert low < metrics["true_perplexity"].value < high


def test_the_report_shows_the_document_and_the_truth(make_task, context):
    task = make_task("dclm:mini", documents=2)
    run = run_task(task, Oracle(), context)
    exhibit = task.exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.group in {"once", "today", "remember"}
    assert exhibit.facts["true nats per token"] == pytest.approx(exhibit.facts["nats per token"])
