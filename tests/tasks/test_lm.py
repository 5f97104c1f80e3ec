"""lm-eval's tasks in our runs: its numbers to the last digit, our errors, and bad rows named."""

import math
import re

import pytest
from lm_files import write_tasks
from tiny_hub import tiny_hub_model

from unimm_eval import evaluate
from unimm_eval.adapters.hf import HubModel
from unimm_eval.api import ChatRequest, ContinuationRequest, UserError
from unimm_eval.engine.load import load_run
from unimm_eval.stats import without_errors
from unimm_eval.tasks.lm.requests import generation

TASKS = ("tiny_choice", "tiny_last", "tiny_pages", "tiny_sums", "tiny_votes", "tiny_group")


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        yield


@pytest.fixture(scope="module")
def model(offline, tmp_path_factory):
    folder = tiny_hub_model(tmp_path_factory.mktemp("model"), length=128)
    return HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")


@pytest.fixture(scope="module")
def rows(model, tmp_path_factory):
    """Tasks of which the model can solve some."""

    def written(prompt):
        request = ChatRequest(
            sample_id="", parts=(prompt,), template=False, stop=("\n", "."), max_new_tokens=12
        )
        words = re.findall("[a-z]+", model.generate_text([request])[0])
        return words[-1] if words else "nothing"

    return write_tasks(tmp_path_factory.mktemp("rows"), answer_to=written)


def settings(rows, tasks, **others):
    return {f"lm:{task}": {"include_path": str(rows), **others} for task in tasks}


@pytest.fixture(scope="module")
def folder(model, rows, tmp_path_factory):
    """A run of ours, of all tasks."""
    folder = tmp_path_factory.mktemp("run") / "run"
    tasks = [*TASKS, "tiny_silent", "tiny_bad"]
    evaluate(
        model,
        [f"lm:{task}" for task in tasks],
        settings={
            **settings(rows, tasks),
            **settings(rows, ["tiny_choice"], cluster_by="passage"),
        },
        output=folder,
        device="cpu",
    )
    return folder


@pytest.fixture(scope="module")
def record(folder):
    return load_run(folder).record


def theirs(model, rows, task):
    """lm-eval's own table for the model, task by task as ours are run."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from unimm_eval.tasks.lm.model import HarnessLM

    found = lm_eval.simple_evaluate(
        model=HarnessLM(model),
        tasks=[task],
        task_manager=TaskManager(include_path=str(rows), include_defaults=False),
        bootstrap_iters=1000,
    )
    return {
        (name, key): float(value)
        for name, row in found["results"].items()
        for key, value in row.items()
        if "," in key and value != "N/A"
    }


@pytest.mark.parametrize("task", [task for task in TASKS if task != "tiny_votes"])
def test_numbers_are_those_of_lm_eval_to_the_last_digit(model, rows, record, task):
    expected = theirs(model, rows, task)
    found = {}
    for row in record.results:
        if row.task != f"lm:{task}":
            continue
        owner, _, metric = row.metric.rpartition("/")
        key = metric if "," in metric else f"{metric},none"
        name, _, kept = key.partition(",")
        found[owner or task, key] = row.value
        if "lm_eval_stderr" in row.facts:
            found[owner or task, f"{name}_stderr,{kept}"] = row.facts["lm_eval_stderr"]
    assert found == expected
    assert any(value > 0 for value in found.values())


def test_answers_that_can_be_right_are(record):
    assert 0 < record.get("lm:tiny_sums", "exact_match,flexible-extract").value < 1


def test_a_group_stands_first_then_its_tasks(record):
    names = [row.metric for row in record.results if row.task == "lm:tiny_group"]
    assert names[:2] == ["acc", "acc_norm"]
    assert set(names[2:]) == {
        f"{task}/{metric}" for task in ("tiny_choice", "tiny_other") for metric in names[:2]
    }
    assert record.get("lm:tiny_group").metric == "acc"
    assert record.get("lm:tiny_group").n == 26


def test_directions_and_errors_are_ours(record):
    perplexity = record.get("lm:tiny_pages")
    assert perplexity.metric == "word_perplexity"
    assert perplexity.direction == "lower"
    assert perplexity.stderr > 0
    low, high = perplexity.interval
    assert low < perplexity.value < high


def test_errors_are_clustered_by_what_rows_share(record):
    shared, apart = record.get("lm:tiny_choice"), record.get("lm:tiny_group", "tiny_choice/acc")
    assert shared.value == apart.value
    assert (shared.facts["clusters"], apart.facts["clusters"]) == (6, 17)
    assert shared.stderr != pytest.approx(apart.stderr)
    assert apart.stderr == pytest.approx(apart.facts["lm_eval_stderr"])


def test_repeats_are_drawn_apart_and_voted_on(folder):
    run = load_run(folder).tasks["lm:tiny_votes"]
    assert len(run.outputs) == 3 * 11
    texts = {output.values["responses"][0] for output in run.outputs}
    assert len(texts) > 11
    votes = [score for score in run.scores if score.values]
    assert len(votes) == 11


def test_a_stop_that_nobody_named_is_told(record):
    facts = record.get("lm:tiny_silent").facts
    assert facts["stop"] == [["\n\n"]]
    assert facts["stop_assumed"] is True
    assert "stop_assumed" not in record.get("lm:tiny_sums").facts


def test_bad_rows_are_named_and_the_others_are_scored(folder, record):
    row = record.get("lm:tiny_bad")
    assert row.n == 3
    assert row.unscored == 3
    assert row.facts["contexts_cut"] == 4  # each option of the question that is too long
    run = load_run(folder).tasks["lm:tiny_bad"]
    reasons = [score.unscored for score in run.scores if score.unscored is not None]
    assert any("row 2 of tiny_bad" in reason for reason in reasons)
    assert any("cannot score it" in reason or "row 3" in reason for reason in reasons)
    assert any("cannot be scored by a model of 128 tokens" in reason for reason in reasons)


def test_a_summary_without_errors_needs_no_library(folder, monkeypatch):
    """A comparison makes it many times, maybe where there is no lm-eval."""
    monkeypatch.setattr("unimm_eval.tasks.lm.task.opened", None)
    run = load_run(folder)
    for name, loaded in run.tasks.items():
        with without_errors():
            made = {m.name: m for m in loaded.task.summarize(loaded.samples, loaded.scores)}
        for row in run.record.results:
            if row.task == name:
                assert made[row.metric].value == pytest.approx(row.value, rel=1e-12)


class Verbose:
    """Answers with ten thousand words, or rates every continuation alike."""

    name = fingerprint = "verbose"

    def describe(self):
        return {}

    def generate_text(self, requests):
        return ["word " * 10_000 for _ in requests]

    def score_continuations(self, requests):
        raise AssertionError

    def score_documents(self, requests):
        raise AssertionError


def test_long_answers_clusters_and_limits(rows, tmp_path):
    record = evaluate(
        Verbose(),
        "lm:tiny_sums",
        limit=4,
        settings=settings(rows, ["tiny_sums"], cluster_by="a", gen_kwargs={"max_gen_toks": 3}),
        output=tmp_path / "run",
    )
    row = record.get("lm:tiny_sums")
    assert (row.value, row.n, row.limited) == (0.0, 4, True)
    assert "contexts_cut" not in row.facts
    sample = load_run(tmp_path / "run").tasks["lm:tiny_sums"].samples[0]
    assert sample.cluster == "tiny_sums/0"
    assert sample.inputs["requests"][0][2]["max_gen_toks"] == 3


def test_settings_and_names_that_cannot_work_are_refused(model, rows, tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        evaluate(model, "lm:tiny_choice", settings=settings(tmp_path / "none", ["tiny_choice"]))
    with pytest.raises(UserError, match="'lm:\\*' is a pattern"):
        evaluate(model, "lm:*")


@pytest.mark.slow  # lm-eval's index of its own tasks takes seconds
def test_an_unknown_task_names_the_nearest(model):
    with pytest.raises(UserError, match=r"no task 'hellaswagg' \(did you mean hellaswag"):
        evaluate(model, "lm:hellaswagg")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ((), 256, 0.0, 1.0)),
        ({"until": "\n", "max_new_tokens": 5}, (("\n",), 5, 0.0, 1.0)),
        ({"until": ["a", ""], "do_sample": False, "temperature": 0.7}, (("a",), 256, 0.0, 1.0)),
        ({"do_sample": True, "top_p": 0.9, "max_tokens": 7}, ((), 7, 1.0, 0.9)),
        ({"temperature": 0.5}, ((), 256, 0.5, 1.0)),
        ({"do_sample": False, "top_k": 50}, ((), 256, 0.0, 1.0)),
    ],
)
def test_generation_arguments_are_read_as_lm_eval_reads_them(given, expected):
    found = generation(given)
    assert tuple(found.values()) == expected


def test_what_would_change_an_answer_and_is_not_offered_is_refused():
    with pytest.raises(UserError, match="num_beams"):
        generation({"num_beams": 4})


def test_likelihoods_of_options_after_one_context_are_those_of_each_alone(model):
    options = [" red", " green and blue", " a", " grey circle of the square"]
    contexts = ["What colour is it? " * 3 + "Answer:", "The", ""]
    requests = [
        ContinuationRequest(sample_id=f"{context}{option}", context=context, continuation=option)
        for context in contexts
        for option in options
    ]
    together = model.score_continuations(requests)
    alone = [model.score_continuations([request])[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert math.isclose(one.nats, other.nats, abs_tol=1e-5 * max(1.0, other.nats))
        assert (one.tokens, one.is_greedy) == (other.tokens, other.is_greedy)
