"""`wise:mini`: its judge on true, wrong and hedging pictures, and models that know nothing."""

import numpy as np
import pytest
from task_runs import run_task

from unimm_eval.api import Output, Picture
from unimm_eval.world import COLORS, SHAPES, render, sample_scene_for, wrong_scene_for
from unimm_eval.world.scenes import arrange


class Painter:
    """Paints `scene(metadata, rng)` of the riddle, which it looks up among the samples."""

    def __init__(self, task, scene):
        self.metadata = {s.inputs["prompt"]: s.inputs for s in task.samples()}
        self.scene = scene
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [
            self.paint(self.metadata[r.prompt], np.random.default_rng(r.seed)) for r in requests
        ]

    def paint(self, metadata, rng):
        return render(self.scene(metadata, rng))


@pytest.fixture
def run(make_task, context):
    def go(scene, **settings):
        task = make_task("wise:mini", **settings)
        painter = Painter(task, scene)
        return run_task(task, painter, context, batch_size=64), painter

    return go


def as_geneval(metadata):
    """The riddle's metadata under the tag whose wrong pictures are wrong in what it means."""
    colored = "color" in metadata["include"][0]
    return {**metadata, "tag": "colors" if colored else "single_object"}


def test_what_is_meant_is_right(run):
    found, painter = run(sample_scene_for)
    assert set(found.metrics) == {"overall", "held_out", "shape_riddle", "color_riddle"}
    assert all(metric.value >= 0.99 for metric in found.metrics.values())
    assert len({(r.key, r.repeat) for r in painter.seen}) == len(painter.seen) == 180


def test_another_shape_or_colour_is_wrong(run):
    found, _ = run(lambda metadata, rng: wrong_scene_for(as_geneval(metadata), rng))
    assert all(metric.value <= 0.05 for metric in found.metrics.values())
    assert all(score.payload["reason"] for score in found.scores if not score.values["correct"])


def test_several_guesses_at_once_are_none(run):
    def hedge(metadata, rng):
        only = metadata["include"][0]
        shapes = [only["class"], *(s for s in SHAPES if s != only["class"])][:3]
        colors = [only.get("color", "red"), "green", "blue"]
        return arrange(rng, shapes=shapes, colors=colors)

    found, _ = run(hedge)
    assert all(metric.value == 0.0 for metric in found.metrics.values())
    assert found.scores[0].payload["reason"] == "3 things instead of one"


def test_drawing_well_without_knowing_is_one_in_eight(run):
    def guess(metadata, rng):
        only = metadata["include"][0]
        shape = only["class"] if "color" in only else str(rng.choice(SHAPES))
        return arrange(rng, shapes=[shape], colors=[str(rng.choice(list(COLORS)))])

    found, _ = run(guess, images_per_prompt=20)
    assert 0.08 < found.metrics["overall"].value < 0.18


def test_a_blank_picture_is_chance(run, monkeypatch):
    monkeypatch.setattr(Painter, "paint", lambda *_: np.zeros((32, 32, 3), np.uint8))
    found, _ = run(None)
    for metric in found.metrics.values():
        assert metric.interval[0] <= metric.chance == 0.0 < metric.interval[1]


def test_riddles_differ_and_kinds_take_turns(make_task):
    task = make_task("wise:mini")
    samples = list(task.samples())
    assert len({s.inputs["prompt"] for s in samples}) == len(samples) == 60
    assert [s.inputs["tag"] for s in samples[:4]] == ["shape_riddle", "color_riddle"] * 2
    assert sum(s.inputs["held_out"] for s in samples) == 12
    assert all(s.cluster == s.inputs["fact"] for s in samples)
    assert len({s.inputs["fact"] for s in samples if s.inputs["tag"] == "shape_riddle"}) == 24


def test_a_limit_and_a_missing_picture_leave_out_what_cannot_be_made(make_task, tmp_path):
    task = make_task("wise:mini")
    samples = list(task.samples())[:2]
    outputs = [
        Output(sample_id=samples[0].id, media={"picture": Picture(path=tmp_path / "gone.png")}),
        Output(sample_id=samples[1].id, error="the model gave nothing"),
    ]
    scores = list(task.judge(samples, outputs))
    assert "gone.png" in scores[0].unscored
    assert scores[1].unscored == "the model gave nothing"
    assert task.summarize(samples, scores) == []
    assert task.exhibit(samples[1], outputs[1], scores[1]).correct is None
