"""`geneval:mini`: its judge on true and wrong pictures, its aggregation, and models that guess."""

from collections import Counter

import numpy as np
import pytest
from task_runs import run_task

from unimm_eval.api import Score
from unimm_eval.tasks.geneval import HELD_OUT_TAGS, TAGS, verdict
from unimm_eval.world import SPLITS, render, sample_prompt, sample_scene_for, wrong_scene_for


class Painter:
    """Paints `scene(metadata, rng)` of the prompt, which it looks up among the samples."""

    def __init__(self, task, scene):
        self.metadata = {s.inputs["prompt"]: s.inputs for s in task.samples()}
        self.scene = scene
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [self.paint(request) for request in requests]

    def paint(self, request):
        rng = np.random.default_rng(request.seed)
        return render(self.scene(self.metadata[request.prompt], rng))


class Fixed(Painter):
    """Paints `array(rng)` whatever the prompt."""

    def paint(self, request):
        return self.scene(np.random.default_rng(request.seed))


@pytest.fixture
def run(make_task, context):
    def go(scene, painter=Painter, **settings):
        task = make_task("geneval:mini", **settings)
        return run_task(task, painter(task, scene), context, batch_size=64)

    return go


def test_true_pictures_are_correct(run):
    metrics = run(sample_scene_for).metrics
    assert len(metrics) == 10
    for metric in metrics.values():
        assert metric.value >= 0.99
    assert metrics["overall"].interval[1] == 1.0 or metrics["overall"].value < 1.0


def test_pictures_wrong_in_one_attribute_are_not(run):
    found = run(wrong_scene_for)
    for metric in found.metrics.values():
        if metric.name != "prompts":
            assert metric.value <= 0.05
    assert all(score.payload["reason"] for score in found.scores if not score.values["correct"])


def blank(rng):
    return np.zeros((32, 32, 3), np.uint8)


def gray(rng):
    return np.full((32, 32, 3), 128, np.uint8)


def noise(rng):
    return rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def soft_noise(rng):
    blocks = rng.normal(128, 40, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
    return blocks.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("array", [blank, gray, noise])
def test_knowing_nothing_is_chance(run, array):
    metrics = run(array, Fixed, images_per_prompt=2).metrics
    for name in ("overall", "overall_held_out", *TAGS):
        assert metrics[name].interval[0] <= metrics[name].chance == 0.0 < metrics[name].interval[1]


def test_noise_in_blocks_seldom_looks_like_a_square(run):
    assert run(soft_noise, Fixed).metrics["overall"].value <= 0.05


def test_another_size_is_brought_to_the_canvas(run):
    class Large(Painter):
        def paint(self, request):
            return super().paint(request).repeat(4, 0).repeat(4, 1)

    assert run(sample_scene_for, Large, images_per_prompt=1).metrics["overall"].value >= 0.99


def test_requests_say_all_of_the_protocol(run, make_task):
    task = make_task("geneval:mini", num_inference_steps=3, guidance_scale=1.5)
    painter = Painter(task, sample_scene_for)
    run_task(task, painter, None)
    assert {(r.num_inference_steps, r.guidance_scale) for r in painter.seen} == {(3, 1.5)}
    assert len({(r.key, r.repeat) for r in painter.seen}) == len(painter.seen) == 448
    assert len({r.seed for r in painter.seen}) == 448
    assert {r.solver for r in painter.seen} == {"euler"}
    assert task.generation() == {
        "num_inference_steps": 3,
        "guidance_scale": 1.5,
        "solver": "euler",
    }
    heun = make_task("geneval:mini", num_inference_steps=3, guidance_scale=1.5, solver="heun")
    assert heun.generation() == {**task.generation(), "solver": "heun"}


def test_prompts_differ_and_tags_take_turns(make_task):
    samples = list(make_task("geneval:mini").samples())
    assert len({sample.inputs["prompt"] for sample in samples}) == len(samples)
    assert {sample.inputs["tag"] for sample in samples[:6]} == set(TAGS)
    counts = Counter((s.inputs["tag"], s.inputs["held_out"]) for s in samples)
    assert counts == {("single_object", False): 8} | {
        (tag, False): 16 for tag in TAGS if tag != "single_object"
    } | {(tag, True): 6 for tag in HELD_OUT_TAGS}


def judged(task, correct):
    """(samples, scores) in which `correct(inputs, repeat)` says what is correct."""
    rows = [(s, repeat) for s in task.samples() for repeat in range(s.repeats)]
    scores = [
        Score(
            sample_id=s.id,
            repeat=repeat,
            values={"correct": float(correct(s.inputs, repeat))},
            payload={"reason": "", "details": {}},
        )
        for s, repeat in rows
    ]
    return [s for s, _ in rows], scores


def test_the_overall_score_is_the_mean_of_tags_and_not_of_images(make_task):
    task = make_task("geneval:mini")
    found = {m.name: m for m in task.summarize(*judged(task, lambda i, r: i["tag"] == "counting"))}
    assert found["overall"].value == pytest.approx(1 / 6)
    assert found["images"].value == pytest.approx(16 / 88)
    assert found["overall_held_out"].value == 0.0


def test_a_prompt_counts_once_if_any_picture_is_correct(make_task):
    task = make_task("geneval:mini")
    found = {m.name: m for m in task.summarize(*judged(task, lambda i, repeat: repeat == 2))}
    assert (found["images"].value, found["prompts"].value) == (0.25, 1.0)
    assert (found["images"].n, found["prompts"].n) == (352, 88)
    assert found["images"].facts["clusters"] == 88


def test_a_missing_tag_is_reported_and_not_averaged_around(make_task):
    task = make_task("geneval:mini")
    samples, scores = judged(task, lambda inputs, repeat: True)
    kept = [
        (sample, score)
        for sample, score in zip(samples, scores, strict=True)
        if sample.inputs["tag"] != "position"
    ]
    found = {m.name: m for m in task.summarize(*zip(*kept, strict=True))}
    assert "overall" not in found
    assert "overall_held_out" not in found
    assert found["images"].facts["missing_tags"] == ["position"]
    assert found["colors"].value == 1.0


def test_a_picture_that_cannot_be_read_is_unscored(make_task, context, tmp_path):
    from unimm_eval.api import Output, Picture

    task = make_task("geneval:mini")
    samples = list(task.samples())[:2]
    outputs = [
        Output(sample_id=samples[0].id, media={"picture": Picture(path=tmp_path / "gone.png")}),
        Output(sample_id=samples[1].id, error="the model gave nothing"),
    ]
    reasons = [score.unscored for score in task.judge(samples, outputs)]
    assert "gone.png" in reasons[0]
    assert reasons[1] == "the model gave nothing"
    assert task.summarize(samples, list(task.judge(samples, outputs))) == []
    assert (
        task.exhibit(samples[1], outputs[1], list(task.judge(samples, outputs))[1]).correct is None
    )


def test_exhibits_say_what_was_seen(make_task, context):
    task = make_task("geneval:mini")
    found = run_task(task, Painter(task, wrong_scene_for), context, batch_size=64, limit=3)
    exhibit = task.exhibit(found.samples[0], found.outputs[0], found.scores[0])
    assert exhibit.group == "single_object"
    assert exhibit.correct is False
    assert "expected 1" in exhibit.note
    assert exhibit.facts["seen"] != "nothing"


@pytest.mark.parametrize("tag", TAGS)
def test_the_judge_is_exact_on_many_more_prompts(tag):
    """400 true and 400 wrong pictures a tag, from prompts of every split."""
    correct = Counter()
    for index in range(400):
        rng = np.random.default_rng([11, index])
        metadata = sample_prompt(rng, tag=tag, split=SPLITS[index % 3])
        for kind, scene_for in (("true", sample_scene_for), ("wrong", wrong_scene_for)):
            correct[kind] += verdict(render(scene_for(metadata, rng)), metadata)[0]
    assert correct["true"] >= 396
    assert correct["wrong"] <= 20
