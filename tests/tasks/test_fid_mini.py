"""`fid:mini`: its judge on true, spoiled and wrong pictures of the world."""

from itertools import islice

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from task_runs import run_task

from unimm_eval.api import Output, Picture
from unimm_eval.tasks.fid import classifier
from unimm_eval.tasks.fid.mini import true_pictures
from unimm_eval.world import Scene, Thing, render

TRUE = list(islice(true_pictures("test", "fid:mini"), 256))
"""Of the task's own captions, in their order."""


class Painter:
    """Paints `change(true picture of the caption, rng)`."""

    def __init__(self, change):
        self.change = change
        self.seen = []

    def describe(self):
        return {}

    def generate_images(self, requests):
        self.seen += requests
        return [self.change(TRUE[int(r.key)], np.random.default_rng(r.seed)) for r in requests]


@pytest.fixture
def run(make_task, context):
    def go(change, **settings):
        task = make_task("fid:mini", bootstrap_resamples=50, **settings)
        return run_task(task, Painter(change), context, batch_size=64)

    return go


@pytest.fixture
def distance(run):
    return lambda change: run(change).metrics["distance"].value


def blurred(sigma):
    return lambda picture, rng: gaussian_filter(picture, (sigma, sigma, 0))


def noisy(deviation):
    return lambda picture, rng: (
        (picture + rng.normal(0, deviation, picture.shape)).clip(0, 255).astype(np.uint8)
    )


def shifted(pixels):
    return lambda picture, rng: np.roll(picture, (pixels, pixels), (0, 1))


def same(picture, rng):
    return picture


def test_true_pictures_are_near(run):
    """No further than as many other true pictures, which is what so few can tell."""
    metric = run(same).metrics["distance"]
    assert metric.value < 0.025 * metric.chance
    assert metric.value == pytest.approx(metric.facts["true_pictures"], abs=0.01)
    assert metric.interval[0] <= metric.value <= metric.interval[1]
    assert (metric.n, metric.facts["reference_pictures"]) == (256, 4096)


@pytest.mark.parametrize(
    ("spoil", "amounts"), [(blurred, (0.7, 1, 2)), (noisy, (16, 32, 64)), (shifted, (1, 2, 4))]
)
def test_what_is_spoiled_more_is_further_away(distance, spoil, amounts):
    found = [distance(same), *(distance(spoil(amount)) for amount in amounts)]
    assert found == sorted(found)
    assert found[-1] > 8 * found[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda picture, rng: TRUE[0],  # one picture for all captions
        lambda picture, rng: 255 - picture,
        lambda picture, rng: rng.permutation(picture.reshape(-1, 3)).reshape(picture.shape),
        lambda picture, rng: rng.integers(0, 256, picture.shape, dtype=np.uint8),
        lambda picture, rng: render(
            Scene(things=(Thing(shape="circle", color="red", x=8, y=8, size=11),))
        ),
    ],
)
def test_wrong_pictures_are_far(distance, change):
    assert distance(change) > 0.8


def test_a_gray_picture_is_chance(run):
    metric = run(lambda picture, rng: np.full_like(picture, 128)).metrics["distance"]
    assert metric.interval[0] <= metric.value == metric.chance <= metric.interval[1]
    assert metric.value > 50 * metric.facts["true_pictures"]


def test_captions_are_not_looked_at(run):
    """A distance of all pictures together: under each other's captions they score the same."""
    others = iter(reversed(TRUE))
    one = run(same).metrics["distance"].value
    other = run(lambda picture, rng: next(others)).metrics["distance"].value
    assert one == pytest.approx(other, rel=1e-9)


def test_larger_pictures_are_brought_to_the_canvas(run):
    one = run(same, pictures=20).metrics["distance"].value
    large = run(lambda p, rng: p.repeat(3, 0).repeat(3, 1), pictures=20)
    assert large.metrics["distance"].value == pytest.approx(one)


def test_requests_say_all_of_the_protocol(make_task, context):
    task = make_task("fid:mini", pictures=5, num_inference_steps=3, guidance_scale=1.5)
    painter = Painter(same)
    run_task(task, painter, context)
    assert {(r.num_inference_steps, r.guidance_scale) for r in painter.seen} == {(3, 1.5)}
    assert len({r.key for r in painter.seen}) == len({r.seed for r in painter.seen}) == 5


def test_a_picture_that_cannot_be_read_is_unscored(make_task, tmp_path):
    task = make_task("fid:mini")
    samples = list(task.samples())[:2]
    outputs = [
        Output(sample_id=samples[0].id, media={"picture": Picture(path=tmp_path / "gone.png")}),
        Output(sample_id=samples[1].id, error="the model gave nothing"),
    ]
    scores = list(task.judge(samples, outputs))
    assert "gone.png" in scores[0].unscored
    assert scores[1].unscored == "the model gave nothing"
    assert task.summarize(samples, scores) == []


def test_the_weights_are_small_and_the_ones_that_were_measured():
    """When this fails `fid:mini` is another metric: raise the version of its card."""
    assert classifier.WEIGHTS.stat().st_size < 200_000
    assert classifier.weights_sha256().startswith("8f8308e3eb90bb8c")
    (features,) = classifier.features_of([TRUE[0]])
    assert (features.shape, features.dtype) == ((classifier.FEATURES,), np.float32)


def test_the_judge_is_part_of_the_protocol(make_task):
    assert classifier.weights_sha256()[:16] in make_task("fid:mini").judge_identity()
