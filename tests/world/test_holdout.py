"""What is held out: the share, evenly, and never in training."""

from collections import Counter

import pytest

from unimm_eval.world import (
    COLORS,
    SHAPES,
    TAGS,
    Scene,
    Thing,
    is_held_out,
    is_pair_held_out,
    prompt_is_held_out,
    rng_for,
    sample_captioned,
    sample_pair,
    sample_prompt,
    scene_is_held_out,
)
from unimm_eval.world.holdout import AXES, HELD_OUT_ATTRIBUTES, HELD_OUT_PAIRS, RELATIONS


def test_a_fifth_is_held_out_and_evenly() -> None:
    assert abs(len(HELD_OUT_ATTRIBUTES) / (8 * 8 * len(RELATIONS)) - 0.2) <= 0.02
    assert abs(len(HELD_OUT_PAIRS) / (8 * 7 * len(AXES)) - 0.2) <= 0.02
    for position, values in enumerate((SHAPES, tuple(COLORS), RELATIONS)):
        counts = Counter(combination[position] for combination in HELD_OUT_ATTRIBUTES)
        total = 8 * 8 * len(RELATIONS) / len(values)
        assert all(0.12 <= counts[value] / total <= 0.28 for value in values), counts


def test_pairs_are_held_out_whichever_comes_first() -> None:
    back = {"left of": "right of", "above": "below", "beside": "beside"}
    for first, second, relation in HELD_OUT_PAIRS:
        assert is_pair_held_out(first=second, second=first, relation=relation)
        if relation in back:
            assert is_pair_held_out(first=first, second=second, relation=back[relation])


def test_a_scene_is_held_out_by_its_things_and_its_neighbours() -> None:
    lone = next(c for c in sorted(HELD_OUT_ATTRIBUTES) if c[2] == "alone")
    thing = Thing(shape=lone[0], color=lone[1], x=8, y=8, size=9)
    assert is_held_out(shape=lone[0], color=lone[1], relation="alone")
    assert scene_is_held_out(Scene(things=(thing,)))
    first, second, _ = next(c for c in sorted(HELD_OUT_PAIRS) if c[2] == "left of")
    for color in COLORS:
        left = Thing(shape=first, color=color, x=8, y=8, size=9)
        right = Thing(shape=second, color="white", x=24, y=8, size=9)
        assert scene_is_held_out(Scene(things=(left, right)))
        assert scene_is_held_out(Scene(things=(right, left)))


def test_training_pictures_and_words_keep_out_of_it() -> None:
    rng = rng_for(split="train", purpose="holdout")
    seen: Counter[str] = Counter()
    for _ in range(2000):
        _, scene, metadata = sample_pair(rng, split="train")
        assert not scene_is_held_out(scene)
        assert not prompt_is_held_out(metadata)
        _, captioned, held_out = sample_captioned(rng, split="train")
        assert not held_out
        assert not scene_is_held_out(captioned)
        seen.update(word for t in scene.things for word in (t.shape, t.color))
    for names in (SHAPES, tuple(COLORS)):
        total = sum(seen[name] for name in names)
        assert all(seen[name] > 0.08 * total for name in names), seen


@pytest.mark.parametrize("tag", TAGS)
def test_evaluation_prompts_hold_out_a_quarter_where_they_can(tag: str) -> None:
    rng = rng_for(split="test", purpose="holdout")
    prompts = [sample_prompt(rng, tag=tag, split="test") for _ in range(800)]
    share = sum(metadata["held_out"] for metadata in prompts) / len(prompts)
    assert share == 0 if tag in ("single_object", "counting") else 0.2 < share < 0.3
    assert all(m["held_out"] == prompt_is_held_out(m) for m in prompts)


def test_evaluation_pairs_hold_out_a_quarter() -> None:
    rng = rng_for(split="test", purpose="holdout pairs")
    held_out = [sample_pair(rng, split="test")[2]["held_out"] for _ in range(1500)]
    assert 0.2 < sum(held_out) / len(held_out) < 0.3
