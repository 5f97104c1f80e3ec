"""`vqa16:mini`: models that know, that guess, and that look at the wrong picture."""

from collections import Counter

import pytest
from task_runs import run_task

from unimm_eval.api import content_hash
from unimm_eval.tasks.vqa16.mini_rules import RULES
from unimm_eval.tasks.vqa16.mini_summary import GROUPS
from unimm_eval.world import (
    FAMILIES,
    opposite,
    options_of,
    picture_from_json,
    question_at,
    render,
    rotations,
)


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
    assert all(metric.value == pytest.approx(1.0) for metric in metrics.values())
    assert metrics["mean"].n == 14 * 40 + 2 * 20  # pairs count once, circles too
    assert metrics["mean_held_out"].n == 14 * 16 + 2 * 8
    assert 0.98 < metrics["mean"].interval[0] <= 1.0


@pytest.mark.parametrize(
    "choose",
    [
        lambda picture, question, choices: choices[0],
        lambda picture, question, choices: choices[-1],
        lambda picture, question, choices: min(choices, key=len),
        lambda picture, question, choices: choices[int(picture[:8], 16) % len(choices)],
        lambda picture, question, choices: choices[len(question) % len(choices)],
        lambda picture, question, choices: favourite(question, choices),
        lambda picture, question, choices: "I do not know",
    ],
    ids=["first", "last", "shortest", "random", "words", "favourite", "prose"],
)
def test_knowing_nothing_is_chance_on_every_row(make_task, context, choose):
    metrics = run_task(make_task("vqa16:mini"), Chooser(choose), context, batch_size=64).metrics
    off = {
        name
        for name, metric in metrics.items()
        if not metric.interval[0] - 1e-9 <= metric.chance <= metric.interval[1] + 1e-9
    }
    answers = choose("0" * 64, "what? a red b blue c bar d ring", ("a", "b", "c", "d"))
    if answers == "I do not know":  # wrong for sure, which is less than a guess
        assert all(metric.value == 0.0 for metric in metrics.values())
    else:
        assert len(off) <= 2, off  # 5% of 22 intervals miss
        assert contains(metrics["mean"])
        assert contains(metrics["mean_held_out"])


def favourite(question, choices):
    """Names the same option at whatever letter it stands: the most that words alone can get."""
    words = question.split()[-8:]
    if words[::2] == list(choices):
        return min(zip(words[1::2], words[::2], strict=True))[1]
    return min(choices)


def test_chance_is_what_the_same_answers_would_score_under_another_truth(make_task, context):
    def metrics_of(choose):
        return run_task(make_task("vqa16:mini"), Chooser(choose), context, batch_size=64).metrics

    first = metrics_of(lambda picture, question, choices: choices[0])
    assert first["seed"].chance == 0.25
    assert first["ocrbench"].chance == pytest.approx(0.1)
    assert first["cvbench2d"].chance == pytest.approx((1 / 4 + 1 / 2) / 2)
    # One letter throughout is right in one rotation of four, one word in one question of a pair.
    assert (first["mmbench"].chance, first["mmbench"].value) == (0.0, 0.0)
    assert (first["mmvp"].chance, first["mmvp"].value) == (0.0, 0.0)
    assert (first["mme"].chance, first["mme"].value) == (0.25, 0.25)
    steady = metrics_of(lambda picture, question, choices: favourite(question, choices))
    assert steady["mmbench"].chance == 0.25
    families = [first[name].chance for name in FAMILIES]
    assert first["mean"].chance == pytest.approx(sum(families) / 16)
    for group, title in GROUPS.items():
        mine = [first[name].value for name, family in FAMILIES.items() if family.group == title]
        assert len(mine) == 4
        assert first[group].value == pytest.approx(sum(mine) / 4)


def seen(samples):
    """What is true of each picture: the words of every answer about it."""
    known = {}
    for sample in samples:
        inputs = sample.inputs
        words = inputs["question"].split()[-8:]
        named = dict(zip(words[::2], words[1::2], strict=False))
        answer = named[inputs["answer"]] if inputs["choices"] == list("abcd") else inputs["answer"]
        picture = content_hash(render(picture_from_json(inputs["picture"])).tobytes())
        known.setdefault((picture, inputs["family"]), set()).add(answer)
    return known


def test_a_swapped_picture_is_chance(make_task, context, facts):
    """A model that looks, and so answers what is true of the picture it is shown."""
    samples, _ = facts
    known = {}
    for (picture, _), answers in seen(samples).items():
        known.setdefault(picture, set()).update(answers)

    def look(picture, question, choices):
        words = question.split()[-8:]
        named = dict(zip(words[::2], words[1::2], strict=False))
        lettered = list(choices) == list("abcd")
        right = [c for c in choices if (named[c] if lettered else c) in known[picture]]
        return right[0] if right else choices[0]

    straight = run_task(make_task("vqa16:mini"), Chooser(look), context, batch_size=64).metrics
    task = make_task("vqa16:mini", swap_pictures=True)
    swapped = run_task(task, Chooser(look), context, batch_size=64).metrics
    assert straight["mean"].value > 0.9  # of yes and no about one picture it knows one
    assert swapped["mean"].value < swapped["mean"].chance + 0.05
    assert task.protocol_hash({"swap_pictures": "true"}) != task.protocol_hash({})


def test_swapping_changes_every_picture_and_nothing_else(make_task):
    straight = list(make_task("vqa16:mini").samples())
    swapped = list(make_task("vqa16:mini", swap_pictures=True).samples())
    units = {}
    for one, other in zip(straight, swapped, strict=True):
        assert one.inputs["picture"] != other.inputs["picture"]
        assert one.inputs["picture"]["kind"] == other.inputs["picture"]["kind"]
        assert {**one.inputs, "picture": 0} == {**other.inputs, "picture": 0}
        units.setdefault(one.inputs["unit"], []).append(one.inputs["picture"])
    assert all(sample.inputs["picture"] not in units[sample.inputs["unit"]] for sample in swapped)


def test_families_take_turns_so_that_a_limit_leaves_all_of_them(make_task, context, facts):
    families = [sample.inputs["family"] for sample in facts[0]]
    assert set(families[:21]) == set(FAMILIES)
    assert Counter(families) == {name: 56 * 4 if name == "mmbench" else 56 for name in FAMILIES}
    first = Chooser(lambda picture, question, choices: choices[0])
    metrics = run_task(make_task("vqa16:mini"), first, context, limit=20).metrics
    assert "gqa" in metrics
    assert "mmbench" not in metrics  # its circle is cut
    assert "mean" not in metrics


def test_a_missing_family_is_not_averaged_around(make_task, context):
    task = make_task("vqa16:mini", questions=4, held_out_questions=0)
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


def test_units_are_asked_together(facts):
    samples = [sample for sample in facts[0] if RULES[sample.inputs["family"]].of > 1]
    units = {}
    for sample in samples:
        units.setdefault(sample.inputs["unit"], []).append(sample)
    for members in units.values():
        family = members[0].inputs["family"]
        assert len(members) == members[0].inputs["of"] == RULES[family].of
        assert len({member.cluster for member in members}) == 1
        pictures = [member.inputs["picture"] for member in members]
        assert (pictures.count(pictures[0]) == 1) == (family == "mmvp")
        answers = [member.inputs["answer"] for member in members]
        assert len(set(answers)) == len(answers)  # every letter once, both of yes and no
        places = [samples.index(member) for member in members]
        assert places == list(range(places[0], places[0] + len(places)))


def test_rotations_move_the_options_and_nothing_else():
    question = question_at(family="mmbench", split="test", index=3)
    turned = rotations(question)
    assert turned[0] == question
    right = {options_of(each)["abcd".index(each.answer)] for each in turned}
    assert len(right) == 1
    assert len({options_of(each) for each in turned}) == 4
    with pytest.raises(ValueError, match="no lettered options"):
        rotations(question_at(family="gqa", split="test", index=0))


def test_words_alone_say_nothing_about_which_of_a_pair_is_there():
    """Who learns from many pairs which shapes and colours are asked for with a yes stays at ½."""
    score = Counter()

    def weight(question):
        return sum(score[word] for word in question.question.rstrip("?").split())

    right = []
    for index in range(500):
        first = question_at(family="mme", split="test", index=index)
        second = opposite(first, split="test", index=index)
        assert first.picture == second.picture
        there, absent = (first, second) if first.answer == "yes" else (second, first)
        assert (there.answer, absent.answer) == ("yes", "no")
        if index >= 250:
            right.append((weight(there) > weight(absent)) + (weight(there) == weight(absent)) / 2)
        score.update(there.question.rstrip("?").split())
        score.subtract(absent.question.rstrip("?").split())
    assert 0.4 < sum(right) / len(right) < 0.6


def test_exhibits_show_the_picture(make_task, context):
    task = make_task("vqa16:mini", questions=2, held_out_questions=0)
    first = Chooser(lambda picture, question, choices: choices[0])
    run = run_task(task, first, context)
    exhibit = task.exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.shown["picture"].load().shape == (32, 32, 3)
    assert exhibit.correct == (exhibit.answer == exhibit.expected)
