"""An lm-eval task's numbers made again from what each document adds to them."""

import math

import pytest

from unimm_eval.api import Sample, Score
from unimm_eval.tasks.lm.summary import estimates, rebuilt


def made(parts, *, task="t", groups=(), root="t"):
    """The estimates of documents of which each adds `parts`, by number; None is unscored."""
    samples = [
        Sample(id=str(n), inputs={"task": task_of(n, task), "doc": n}, cluster=f"c{n // 2}")
        for n in range(len(parts))
    ]
    scores = [
        Score(sample_id=str(n), unscored="bad")
        if part is None
        else Score(sample_id=str(n), payload={"parts": part, "groups": list(groups)})
        for n, part in enumerate(parts)
    ]
    return estimates(rebuilt(root, samples, scores), samples, scores)


def task_of(number, task):
    return task if isinstance(task, str) else task[number]


def test_means_count_what_is_unscored():
    found = made([{"acc,none": ["mean", v]} for v in (0.0, 1.0, 1.0, 1.0)] + [None])
    assert found["acc"].value == 0.75
    assert (found["acc"].n, found["acc"].unscored) == (4, 1)
    assert found["acc"].facts["clusters"] == 2


def test_perplexities_are_of_sums():
    documents = [(-3.0, 2), (-5.0, 4), (-1.0, 1), (-2.0, 3)]
    found = made(
        [
            {
                "word_perplexity,none": ["weighted_perplexity", nats, words],
                "bits_per_byte,none": ["bits_per_byte", nats, words],
                "perplexity,strict": ["perplexity", nats],
            }
            for nats, words in documents
        ]
    )
    assert found["word_perplexity"].value == pytest.approx(math.exp(11 / 10))
    assert found["bits_per_byte"].value == pytest.approx(11 / 10 / math.log(2))
    assert found["perplexity,strict"].value == pytest.approx(math.exp(11 / 4))
    assert all(metric.stderr > 0 for metric in found.values())


@pytest.mark.parametrize(
    "part",
    [
        ["weighted_perplexity", -1.0, 0],  # text of no words
        ["weighted_perplexity", -1e6, 1],  # beyond any float
        ["mean", math.nan],
        ["other"],
    ],
)
def test_what_cannot_be_made_is_left_to_lm_eval(part):
    assert made([{"m,none": part}] * 4) == {}


@pytest.mark.parametrize(("by_size", "expected"), [(True, 3 / 5), (False, (1 / 2 + 2 / 3) / 2)])
def test_groups_weigh_their_tasks_as_they_say(by_size, expected):
    parts = [{"acc,none": ["mean", value]} for value in (1.0, 1.0, 0.0, 1.0, 0.0)]
    tasks = ("a", "b", "b", "b", "a")
    found = made(parts, task=tasks, groups=[["g", "acc", "none", by_size]], root="g")
    assert found["a/acc"].value == 1 / 2
    assert found["b/acc"].value == pytest.approx(2 / 3)
    assert found["acc"].value == pytest.approx(expected)
