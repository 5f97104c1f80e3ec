"""`dpgbench:mini`: its judge on true, spoilt and wrong pictures, its chance, and its metrics."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from task_runs import run_task

from unimm_eval.api import Output, Picture
from unimm_eval.tasks.dpgbench.graph import faults_of
from unimm_eval.tasks.dpgbench.worldly import answer, questions_about, things_in
from unimm_eval.world import (
    COLORS,
    SHAPES,
    Scene,
    Thing,
    render,
    rng_for,
    scene_is_held_out,
)
from unimm_eval.world.scenes import sample_distinct

sys.path.insert(0, str(Path(__file__).parents[1] / "world"))
from world_judging import blurred, noisy, shifted


class Painter:
    """Paints `paint(scene, rng)` of a prompt's true scene."""

    def __init__(self, task, paint):
        self.scenes = {s.inputs["prompt"]: Scene.from_json(s.inputs["scene"]) for s in
                       task.samples()}  # fmt: skip
        self.paint = paint
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [self.paint(self.scenes[r.prompt], np.random.default_rng(r.seed)) for r in requests]


@pytest.fixture
def run(make_task, context):
    def go(paint, **settings):
        task = make_task("dpgbench:mini", **settings)
        painter = Painter(task, paint)
        return run_task(task, painter, context, batch_size=64), painter

    return go


@pytest.mark.parametrize("spoil", [lambda picture, rng: picture, blurred, noisy, shifted])
def test_true_pictures_are_right_however_they_are_spoilt(run, spoil):
    found, _ = run(lambda scene, rng: spoil(render(scene), rng))
    for name, metric in found.metrics.items():
        assert metric.value >= (0.95 if name == "whole" else 0.99), name
    assert found.metrics["overall"].facts["clusters"] == 24


def changed(scene, index, **values):
    things = list(scene.things)
    old = things[index]
    fields = {name: getattr(old, name) for name in ("shape", "color", "x", "y", "size")}
    things[index] = Thing(**{**fields, **values})
    return Scene(things=tuple(things))


def scenes(count):
    for index in range(count):
        rng = rng_for(split="val", purpose="dpgbench judge", index=index)
        yield sample_distinct(rng, things=3 + index % 2), rng


def wrongly_yes(scene, wrong, concerns):
    """(yes among the questions that the change makes false, how many these are)."""
    seen = things_in(render(wrong))
    asked = [q["asks"] for q in questions_about(scene) if concerns(q["asks"])]
    return sum(answer(asks, seen) for asks in asked), len(asked)


def rate(pairs):
    yes, asked = np.sum(list(pairs), axis=0)
    assert asked >= 200
    return yes / asked


def test_another_colour_is_no():
    def pairs():
        for scene, rng in scenes(200):
            color = str(rng.choice([c for c in COLORS if c != scene.things[0].color]))
            shape = scene.things[0].shape
            wrong = changed(scene, 0, color=color)
            yield wrongly_yes(scene, wrong, lambda a, shape=shape: a[:2] == ["color", shape])

    assert rate(pairs()) <= 0.05


def test_another_shape_is_no_and_takes_all_that_depends_on_it_along():
    def pairs():
        for scene, rng in scenes(200):
            there = {thing.shape for thing in scene.things}
            shape = str(rng.choice([s for s in SHAPES if s not in there]))
            wrong = changed(scene, 0, shape=shape)
            name = scene.things[0].shape
            yield wrongly_yes(scene, wrong, lambda a, name=name: name in a)

    assert rate(pairs()) <= 0.05


def test_two_things_changing_places_are_no():
    def pairs():
        for scene, _ in scenes(200):
            one, two = scene.things[:2]
            wrong = changed(changed(scene, 0, x=two.x, y=two.y), 1, x=one.x, y=one.y)
            shapes = (one.shape, two.shape)
            yield wrongly_yes(
                scene,
                wrong,
                lambda a, shapes=shapes: (
                    (a[0] == "place" and a[1] in shapes)
                    or (a[0] == "relation" and {a[1], a[3]} == set(shapes))
                ),
            )

    assert rate(pairs()) <= 0.05


def test_a_thing_less_is_another_number():
    pairs = (
        wrongly_yes(scene, Scene(things=scene.things[1:]), lambda a: a[0] == "count")
        for scene, _ in scenes(200)
    )
    assert rate(pairs) <= 0.05


def test_knowing_nothing_is_chance(run):
    found, _ = run(lambda scene, rng: rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    for metric in found.metrics.values():
        assert metric.interval[0] <= metric.chance == 0.0 < metric.interval[1]


def test_drawing_well_without_reading_is_chance(run):
    """Every prompt gets a true picture of another scene of as many things."""
    found, _ = run(
        lambda scene, rng: render(sample_distinct(rng, things=len(scene.things))),
        images_per_prompt=8,
    )
    for name in ("overall", "held_out", "entity", "attribute", "relation", "whole"):
        metric = found.metrics[name]
        assert metric.value == pytest.approx(metric.chance, abs=0.06)
    assert 0.1 < found.metrics["overall"].chance < 0.4
    assert found.metrics["whole"].chance == 0.0


def test_prompts_say_everything_and_ask_only_what_they_say(make_task):
    samples = list(make_task("dpgbench:mini").samples())
    assert len({s.inputs["prompt"] for s in samples}) == len(samples) == 34
    assert Counter(s.inputs["held_out"] for s in samples) == {False: 24, True: 10}
    assert [s.inputs["held_out"] for s in samples] == [False] * 24 + [True] * 10
    assert all(s.cluster == s.inputs["prompt"] and s.repeats == 4 for s in samples)
    for sample in samples:
        inputs = sample.inputs
        scene = Scene.from_json(inputs["scene"])
        assert scene_is_held_out(scene) == inputs["held_out"]
        assert len(scene.things) in (3, 4)
        facts = inputs["prompt"].split(", ")
        for thing in scene.things:
            (fact,) = [f for f in facts if thing.shape in f.split()]
            assert thing.color in fact.split()
        assert faults_of(inputs["questions"]) == []
        assert all(q["parents"] or q["asks"][0] in ("there", "count") for q in inputs["questions"])


def test_requests_say_all_of_the_protocol(run):
    _, painter = run(
        lambda scene, rng: render(scene), num_inference_steps=3, guidance_scale=1.5, solver="heun"
    )
    assert {(r.num_inference_steps, r.guidance_scale, r.solver) for r in painter.seen} == {
        (3, 1.5, "heun")
    }
    assert len({(r.key, r.repeat) for r in painter.seen}) == len(painter.seen) == 136


def test_a_picture_that_is_not_there_is_unscored(make_task, tmp_path):
    task = make_task("dpgbench:mini")
    samples = list(task.samples())[:3]
    outputs = [
        Output(sample_id=samples[0].id, media={"picture": Picture(path=tmp_path / "gone.png")}),
        Output(sample_id=samples[1].id, error="the model gave nothing"),
        Output(
            sample_id=samples[2].id,
            media={"picture": Picture(array=render(Scene.from_json(samples[2].inputs["scene"])))},
        ),
    ]
    scores = list(task.judge(samples, outputs))
    assert "gone.png" in scores[0].unscored
    assert scores[1].unscored == "the model gave nothing"
    found = {metric.name: metric for metric in task.summarize(samples, scores)}
    assert (found["overall"].value, found["overall"].n, found["overall"].unscored) == (1.0, 1, 2)
    assert task.exhibit(samples[1], outputs[1], scores[1]).correct is None
    assert task.exhibit(samples[2], outputs[2], scores[2]).correct
    assert task.summarize(samples[:2], scores[:2]) == []


def test_a_question_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="there is no question"):
        answer(["smell", "ring"], [])
