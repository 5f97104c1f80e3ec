"""The judge is right on true pictures, spoiled or not, and is not taken in by wrong ones."""

from collections.abc import Callable
from time import process_time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from world_judging import blurred, is_true, noisy, shifted

from unimm_eval.world import (
    COLORS,
    SHAPES,
    TAGS,
    Scene,
    Thing,
    detect,
    render,
    rng_for,
    sample_captioned,
    sample_prompt,
    sample_scene_for,
    wrong_scene_for,
)

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _share_true(spoil: Spoil, *, count: int = 600) -> float:
    rng = rng_for(split="test", purpose="detector")
    right = 0
    for index in range(count):
        metadata = sample_prompt(rng, tag=TAGS[index % len(TAGS)], split="test")
        right += is_true(metadata, spoil(render(sample_scene_for(metadata, rng)), rng))
    return right / count


def test_true_pictures_are_judged_true() -> None:
    assert _share_true(lambda picture, rng: picture) >= 0.99


@pytest.mark.parametrize("spoil", [blurred, noisy, shifted])
def test_spoiled_true_pictures_are_judged_true(spoil: Spoil) -> None:
    assert _share_true(spoil) >= 0.97


def test_wrong_pictures_are_judged_wrong() -> None:
    rng = rng_for(split="test", purpose="wrong")
    wrong = 0
    for index in range(600):
        metadata = sample_prompt(rng, tag=TAGS[index % len(TAGS)], split="test")
        wrong += is_true(metadata, render(wrong_scene_for(metadata, rng)))
    assert wrong / 600 <= 0.05


def test_everything_in_any_scene_is_found_once_and_in_its_place() -> None:
    rng = rng_for(split="test", purpose="found")
    for _ in range(300):
        _, scene, _ = sample_captioned(rng, split="test")
        found = detect(render(scene))
        assert sorted((d.shape, d.color) for d in found) == sorted(
            (t.shape, t.color) for t in scene.things
        )
        for detection in found:
            x1, y1, x2, y2 = detection.box
            assert any(
                abs(x1 + x2 - 2 * t.x) <= 4 and abs(y1 + y2 - 2 * t.y) <= 2
                for t in scene.things
                if t.shape == detection.shape
            )
            assert 0.99 <= detection.score <= 1


def test_things_that_touch_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    right = 0
    for _ in range(100):
        shapes = rng.choice(SHAPES, 2, replace=False).tolist()
        colors = rng.choice(list(COLORS), 2).tolist()
        things = tuple(
            Thing(shape=shape, color=color, x=x, y=15, size=11)
            for shape, color, x in zip(shapes, colors, (8, 19), strict=True)
        )
        found = {(d.shape, d.color) for d in detect(render(Scene(things=things)))}
        right += found == set(zip(shapes, colors, strict=True))
    assert right >= 95


def test_faint_and_tinted_pictures_are_read() -> None:
    rng = rng_for(split="test", purpose="tinted")
    right = 0
    for _ in range(200):
        _, scene, _ = sample_captioned(rng, split="test")
        ink = render(scene).astype(float) - render(Scene(things=()))
        tinted = render(Scene(things=())) + 0.75 * ink + rng.normal(0, 8, 3)
        found = detect(np.clip(tinted, 0, 255).astype(np.uint8))
        right += sorted(d.shape + d.color for d in found) == sorted(
            t.shape + t.color for t in scene.things
        )
    assert right >= 190


def test_blanks_and_noise_hold_nothing() -> None:
    rng = np.random.default_rng(0)
    for level in range(0, 256, 15):
        assert detect(np.full((32, 32, 3), level, np.uint8)) == []
    pictures = rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    assert sum(len(detect(picture)) for picture in pictures) <= 1


def test_coloured_blobs_hold_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for spread in (1.0, 2.0, 3.0):
        for level in (30, 90, 150):
            for _ in range(10):
                blobs = gaussian_filter(rng.normal(0, 1, (32, 32, 3)), (spread, spread, 0))
                picture = np.clip(level + 50 * blobs / blobs.std(), 0, 255).astype(np.uint8)
                found += len(detect(picture))
    assert found / 90 <= 0.3


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[32, 32, 3\]"):
        detect(np.zeros((32, 32, 3), np.float32))  # type: ignore[arg-type]


def test_judging_is_fast() -> None:
    rng = rng_for(split="test", purpose="speed")
    pictures = [render(sample_captioned(rng, split="test")[1]) for _ in range(200)]
    detect(pictures[0])
    start = process_time()
    for picture in pictures:
        detect(picture)
    assert len(pictures) / (process_time() - start) > 300
