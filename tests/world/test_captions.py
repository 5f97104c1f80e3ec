"""Prompts are what GenEval's rule reads; captions are true."""

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unimm_eval.world import (
    COLORS,
    FACTS,
    SHAPES,
    TAGS,
    Scene,
    caption_of,
    relation,
    rng_for,
    sample_captioned,
    sample_pair,
    sample_prompt,
    sample_riddle,
    sample_scene_for,
    wrong_scene_for,
)
from unimm_eval.world.captions import NUMBERS, plural

seeds = st.integers(0, 2**20)


def _matches(metadata: dict, scene: Scene) -> bool:
    """The prompt holds for the scene, and the scene shows nothing else."""
    wanted = Counter()
    for item in metadata["include"]:
        wanted[item["class"]] += item["count"]
    if Counter(t.shape for t in scene.things) != wanted:
        return False
    things = {t.shape: t for t in scene.things}
    for item in metadata["include"]:
        if "color" in item and things[item["class"]].color != item["color"]:
            return False
        if "position" in item:
            direction, target = item["position"]
            other = things[metadata["include"][target]["class"]]
            if relation(things[item["class"]], other) != direction:
                return False
    return True


@pytest.mark.parametrize("tag", TAGS)
@given(seed=seeds)
def test_true_scenes_are_true_and_wrong_ones_wrong(tag: str, seed: int) -> None:
    rng = rng_for(split="test", purpose="captions", index=seed)
    metadata = sample_prompt(rng, tag=tag, split="test")
    assert _matches(metadata, sample_scene_for(metadata, rng))
    assert not _matches(metadata, wrong_scene_for(metadata, rng))


def test_prompts_read_as_geneval_lays_them_out() -> None:
    rng = rng_for(split="test", purpose="layout")
    metadata = sample_prompt(rng, tag="position", split="test")
    target, placed = metadata["include"]
    direction, index = placed["position"]
    assert index == 0
    assert re.sub(r"\ban? ", "", metadata["prompt"]) == (
        f"{placed['class']} {direction} {target['class']}"
    )
    counting = sample_prompt(rng, tag="counting", split="test")
    (item,), (limit,) = counting["include"], counting["exclude"]
    assert counting["prompt"] == f"{NUMBERS[item['count']]} {plural(item['class'])}"
    assert limit == {"class": item["class"], "count": item["count"] + 1}


def _claims(caption: str) -> list[tuple[int, str | None, str]]:
    """(how many, colour, shape) for each thing named."""
    numbers = {"a": 1, "an": 1} | {word: number for number, word in NUMBERS.items()}
    singular = {plural(shape): shape for shape in SHAPES} | {shape: shape for shape in SHAPES}
    pattern = rf"({'|'.join(numbers)}) (?:({'|'.join(COLORS)}) )?({'|'.join(singular)})\b"
    return [
        (numbers[number], color or None, singular[shape])
        for number, color, shape in re.findall(pattern, caption)
    ]


@given(seed=seeds)
def test_captions_are_true_and_complete(seed: int) -> None:
    rng = rng_for(split="test", purpose="caption_of", index=seed)
    _, scene, _ = sample_captioned(rng, split="test")
    caption = caption_of(scene, rng)
    claims = _claims(caption)
    assert sum(number for number, _, _ in claims) == len(scene.things)
    for number, color, shape in claims:
        found = [t for t in scene.things if t.shape == shape]
        assert len(found) == number
        assert color is None or all(t.color == color for t in found)
    for direction in ("left of", "right of", "above", "below"):
        if direction in caption:
            first, second = (
                next(t for t in scene.things if t.shape == shape) for _, _, shape in claims
            )
            assert relation(first, second) == direction


def test_training_pairs_mix_all_tags() -> None:
    rng = rng_for(split="train", purpose="mix")
    tags = Counter(sample_pair(rng, split="train")[2]["tag"] for _ in range(1000))
    assert set(tags) == set(TAGS)
    assert min(tags[tag] for tag in ("position", "color_attr", "counting")) > tags["colors"]


def test_training_pairs_can_be_of_chosen_tags() -> None:
    rng = rng_for(split="train", purpose="chosen")
    weights = {"two_object": 1.0, "color_attr": 3.0}
    pairs = [sample_pair(rng, split="train", tags=weights) for _ in range(1000)]
    tags = Counter(metadata["tag"] for _, _, metadata in pairs)
    assert set(tags) == set(weights)
    assert 690 < tags["color_attr"] < 810  # four standard errors


def test_facts_have_one_answer_and_stay_out_of_captions() -> None:
    assert len({fact.phrase for fact in FACTS}) == len(FACTS)
    answers = {fact.answer for fact in FACTS}
    assert answers == set(SHAPES) | set(COLORS)
    rng = rng_for(split="train", purpose="facts")
    captions = " ".join(sample_captioned(rng, split="train")[0] for _ in range(500))
    for fact in FACTS:
        told = fact.phrase.split()[2:]
        assert " ".join(told) not in captions
    for first, second in combinations(FACTS, 2):
        assert not first.phrase.startswith(second.phrase)


def test_riddles_carry_the_answer_in_their_metadata() -> None:
    rng = rng_for(split="test", purpose="riddle")
    for _ in range(50):
        metadata, fact = sample_riddle(rng)
        (item,) = metadata["include"]
        assert fact.phrase in metadata["prompt"]
        assert fact.answer in (item["class"], item.get("color"))
        assert fact.answer not in metadata["prompt"].split()
