"""Pictures: exact, apart, and always the same from their description."""

import json
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimm_eval.world import (
    COLORS,
    SHAPES,
    SIZES,
    SPLITS,
    Chart,
    Glyph,
    Page,
    Scene,
    Thing,
    picture_from_json,
    relation,
    render,
    rng_for,
    sample_captioned,
)
from unimm_eval.world.digits import digit_image, digit_label, digit_rows
from unimm_eval.world.scenes import BACKGROUND, OPPOSITE, place
from unimm_eval.world.shapes import shape_mask

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds)
def test_things_keep_two_pixels_apart_and_inside(seed: int) -> None:
    _, scene, _ = sample_captioned(np.random.default_rng(seed), split="test")
    taken = np.zeros((32, 32), int)
    for thing in scene.things:
        left, top = thing.x - thing.size // 2, thing.y - thing.size // 2
        assert min(left, top) >= 1
        assert max(left, top) + thing.size <= 31
        taken[top - 1 : top + thing.size + 1, left - 1 : left + thing.size + 1] += 1
    assert taken.max() <= 1


@given(seed=seeds)
def test_relations_are_inverse(seed: int) -> None:
    _, scene, _ = sample_captioned(np.random.default_rng(seed), split="test")
    for first in scene.things:
        for second in scene.things:
            if first is not second:
                back = OPPOSITE.get(relation(first, second), "beside")
                assert relation(second, first) == back


@given(seed=seeds)
@settings(max_examples=50)
def test_json_keeps_every_pixel(seed: int) -> None:
    _, scene, _ = sample_captioned(np.random.default_rng(seed), split="test")
    again = picture_from_json(json.loads(json.dumps(scene.to_json())))
    assert again == scene
    assert np.array_equal(render(again), render(scene))


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_thing_has_its_pure_colour_inside_and_background_outside(shape: str, color: str) -> None:
    picture = render(Scene(things=(Thing(shape=shape, color=color, x=8, y=8, size=13),)))
    assert picture.shape == (32, 32, 3)
    assert picture.dtype == np.uint8
    assert (picture == COLORS[color]).all(axis=2).sum() >= 30
    assert (picture[:, 16:] == BACKGROUND).all()


@pytest.mark.parametrize("size", SIZES.values())
def test_shapes_of_one_size_overlap_little(size: int) -> None:
    masks = [shape_mask(shape=shape, size=size) for shape in SHAPES]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            assert np.minimum(first, second).sum() / np.maximum(first, second).sum() < 0.86


def test_colours_are_far_apart_in_direction() -> None:
    rays = np.array(list(COLORS.values()), float) - BACKGROUND
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert np.degrees(np.arccos((rays @ rays.T)[~np.eye(8, dtype=bool)].max())) > 12


def test_digits_are_split_once_and_for_all() -> None:
    rows = [{r for d in range(10) for r in digit_rows(label=d, split=s)} for s in SPLITS]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 1797
    for label in range(10):
        assert all(digit_label(row) == label for row in digit_rows(label=label, split="test"))
    scan = digit_image(3, "train", np.random.default_rng(0))
    assert scan.shape == (8, 8)
    assert scan.dtype == np.uint8


def test_bars_stand_as_high_as_they_say() -> None:
    picture = render(Chart(bars=(("red", 2), ("blue", 6), ("white", 1))))
    for color, height in (("red", 2), ("blue", 6), ("white", 1)):
        assert (picture == COLORS[color]).all(axis=2).any(axis=1).sum() == 4 * height


def test_glyphs_are_drawn_in_their_colour() -> None:
    row = digit_rows(label=0, split="test")[0]
    glyph = Glyph(row=row, x=16, y=16, size=24, color="green")
    picture = render(Page(glyphs=(glyph,)))
    assert (picture.reshape(-1, 3).argmax(axis=1) == 1).sum() > 60


def test_streams_differ_by_split_purpose_and_index() -> None:
    firsts = {
        rng_for(split=split, purpose=purpose, index=index).random()
        for split in SPLITS
        for purpose in ("a", "b")
        for index in range(10)
    }
    assert len(firsts) == 60


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of picture 'photo'"):
        picture_from_json({"kind": "photo"})


def test_drawing_is_fast_enough_to_train_on() -> None:
    rng = rng_for(split="test", purpose="speed")
    scenes = [sample_captioned(rng, split="test")[1] for _ in range(1000)]
    start = process_time()
    for scene in scenes:
        render(scene)
    assert len(scenes) / (process_time() - start) > 3000


@given(seed=seeds, quadrant=st.integers(0, 3), size=st.sampled_from(list(SIZES.values())))
def test_a_thing_stands_in_its_quadrant(seed: int, quadrant: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    thing = place(rng, shape="bar", color="red", quadrant=quadrant, size=size)
    assert thing.quadrant == quadrant
