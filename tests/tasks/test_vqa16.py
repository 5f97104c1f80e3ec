"""`vqa16:mini`: models that know, that guess, and that look at the wrong picture."""

from collections import Counter

import pytest
from task_runs import run_task

from unimm_eval.api import content_hash
from unimm_eval.tasks.vqa16 import GROUPS, plain
from unimm_eval.world import FAMILIES, picture_from_json, render


class Chooser:
    """Answers with `choose(picture hash, question, choices)`."""

    def __init__(self, choose):
        self.choose = choose

    def describe(self):
        return {}

    def generate_text(self, requests):
        return [
            self.choose(content_hash(picture.load().tobytes()), question, request.choices)
            for request in requests
            for picture, question in [request.parts]
        ]


def truth(samples):
    """The answer to every (picture, question) among the samples."""
    return {
        (
            content_hash(render(picture_from_json(s.inputs["picture"])).tobytes()),
            s.inputs["question"],
        ): s.inputs["answer"]
        for s in samples
    }


@pytest.fixture
def facts(make_task):
    """The default samples, and what an oracle knows about them."""
    samples = list(make_task("vqa16:mini").samples())
    return samples, truth(samples)


def contains(metric):
    return metric.interval[0] <= metric.chance <= metric.interval[1]


def test_the_oracle_is_always_right(make_task, context, facts):
    known = facts[1]
    oracle = Chooser(lambda picture, question, choices: f" {known[picture, question].upper()}\n")
    metrics = run_task(make_task("vqa16:mini"), oracle, context, batch_size=64).metrics
    assert len(metrics) == 2 + 4 + 16
    assert all(metric.value == 1.0 for metric in metrics.values())
    assert metrics["mean"].n == 16 * 40
    assert metrics["mean_held_out"].n == 16 * 16
    assert 0.98 < metrics["mean"].interval[0] < 1.0


@pytest.mark.parametrize(
    "choose",
    [
        lambda picture, question, choices: choices[0],
        lambda picture, question, choices: choices[-1],
        lambda picture, question, choices: min(choices, key=len),
        lambda picture, question, choices: choices[int(picture[:8], 16) % len(choices)],
        lambda picture, question, choices: choices[len(question) % len(choices)],
    ],
    ids=["first", "last", "shortest", "random", "words"],
)
def test_knowing_nothing_is_chance(make_task, context, choose):
    metrics = run_task(make_task("vqa16:mini"), Chooser(choose), context, batch_size=64).metrics
    assert contains(metrics["mean"])
    assert contains(metrics["mean_held_out"])
    assert metrics["mean"].value < metrics["mean"].chance + 0.05


def test_chance_is_the_mean_of_one_over_the_choices(make_task, context):
    first = Chooser(lambda picture, question, choices: choices[0])
    metrics = run_task(make_task("vqa16:mini"), first, context, batch_size=64).metrics
    assert metrics["mmbench"].chance == 0.25
    assert metrics["ocrbench"].chance == pytest.approx(0.1)
    families = [metrics[name].chance for name in FAMILIES]
    assert metrics["mean"].chance == pytest.approx(sum(families) / 16)
    for group, title in GROUPS.items():
        mine = [metrics[name].value for name, family in FAMILIES.items() if family.group == title]
        assert len(mine) == 4
        assert metrics[group].value == pytest.approx(sum(mine) / 4)


def test_a_swapped_picture_is_chance(make_task, context, facts):
    """A model that looks, and so answers what is true of the picture it is shown."""
    samples, _ = facts
    answers = {picture: answer for (picture, _), answer in truth(samples).items()}

    def look(picture, question, choices):
        return answers[picture] if answers[picture] in choices else choices[0]

    straight = run_task(make_task("vqa16:mini"), Chooser(look), context, batch_size=64).metrics
    task = make_task("vqa16:mini", swap_pictures=True)
    swapped = run_task(task, Chooser(look), context, batch_size=64).metrics
    assert straight["mean"].value > 0.99
    assert swapped["mean"].value < swapped["mean"].chance + 0.05
    assert task.protocol_hash({"swap_pictures": "true"}) != task.protocol_hash({})


def test_swapping_changes_every_picture_and_nothing_else(make_task):
    straight = list(make_task("vqa16:mini").samples())
    swapped = list(make_task("vqa16:mini", swap_pictures=True).samples())
    for one, other in zip(straight, swapped, strict=True):
        assert one.inputs["picture"] != other.inputs["picture"]
        assert one.inputs["picture"]["kind"] == other.inputs["picture"]["kind"]
        assert {**one.inputs, "picture": 0} == {**other.inputs, "picture": 0}
    pairs = {}
    for sample in straight:
        if sample.inputs["pair"] is not None:
            pairs.setdefault(sample.inputs["pair"], []).append(sample.inputs["picture"])
    assert all(
        sample.inputs["picture"] not in pairs[sample.inputs["pair"]]
        for sample in swapped
        if sample.inputs["pair"] is not None
    )


def test_families_take_turns_so_that_a_limit_leaves_all_of_them(make_task, context, facts):
    families = [sample.inputs["family"] for sample in facts[0]]
    assert set(families[:16]) == set(FAMILIES)
    assert Counter(families) == dict.fromkeys(FAMILIES, 56)
    first = Chooser(lambda picture, question, choices: choices[0])
    metrics = run_task(make_task("vqa16:mini"), first, context, limit=20).metrics
    assert "gqa" in metrics


def test_a_missing_family_is_not_averaged_around(make_task, context):
    task = make_task("vqa16:mini", questions=2, held_out_questions=0)
    run = run_task(task, Chooser(lambda picture, question, choices: choices[0]), context)
    kept = [
        (sample, score)
        for sample, score in zip(run.samples, run.scores, strict=True)
        if sample.inputs["family"] != "mme"
    ]
    names = {metric.name for metric in task.summarize(*zip(*kept, strict=True))}
    assert "mme" not in names
    assert "general" not in names
    assert "mean" not in names
    assert {"knowledge", "gqa"} <= names


def test_pairs_share_a_cluster(facts):
    mmvp = [sample for sample in facts[0] if sample.inputs["family"] == "mmvp"]
    assert set(Counter(sample.cluster for sample in mmvp).values()) == {2}


def test_exhibits_show_the_picture(make_task, context):
    task = make_task("vqa16:mini", questions=2, held_out_questions=0)
    first = Chooser(lambda picture, question, choices: choices[0])
    run = run_task(task, first, context)
    exhibit = task.exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.shown["picture"].load().shape == (32, 32, 3)
    assert exhibit.correct == (plain(exhibit.answer) == plain(exhibit.expected))
