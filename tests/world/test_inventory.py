import numpy as np
import pytest

from unimm_eval.world import (
    FAMILIES,
    Chart,
    Page,
    Scene,
    detect,
    inventory,
    question_at,
    render,
    rng_for,
    sample_captioned,
    sample_elements,
)


def test_what_the_detector_finds_is_what_the_inventory_says() -> None:
    rng = rng_for(split="val", purpose="inventory", index=0)
    for _ in range(40):
        scene = sample_captioned(rng, split="train")[1]
        found = set()
        for detection in detect(render(scene)):
            x1, y1, x2, y2 = detection.box
            row = "top" if y1 + y2 < 32 else "bottom"
            column = "left" if x1 + x2 < 32 else "right"
            found.add(f"{detection.color} {detection.shape} {row} {column}")
        assert set(inventory(scene).split(", ")) == found


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_that_can_be_looked_up_is_in_the_inventory(family: str) -> None:
    for index in range(20):
        question = question_at(family=family, split="val", index=index)
        said = inventory(question.picture)
        if isinstance(question.picture, Page | Chart):
            assert question.answer in said
        if family == "ai2d":
            subject = question.question.removesuffix("?").split()[-1]
            (link,) = [part for part in said.split(", ") if f" {subject}" in part]
            assert question.answer in link
        if family == "realworldqa" and question.question.startswith("which side"):
            subject = question.question.split()[4]
            (thing,) = [part for part in said.split(", ") if f" {subject} " in part]
            assert thing.endswith(f" {question.answer}")


def test_a_things_line_does_not_depend_on_the_order_of_the_scene() -> None:
    rng = np.random.default_rng(0)
    scene = sample_captioned(rng, split="train")[1]
    assert inventory(Scene(things=scene.things[::-1])) == inventory(scene)


def test_elementary_questions_are_answered_by_the_scene_alone() -> None:
    rng = rng_for(split="train", purpose="elements", index=0)
    for _ in range(60):
        scene, turns = sample_elements(rng, split="train", k=4)
        said = inventory(scene).split(", ")
        for question, answer in turns:
            if question.startswith("which is"):
                stem, options = question.split("? ")
                word = stem.removeprefix("which is ")
                said_of = [f"{word} {answer}"] if word != "which" else answer.split(", ")
                assert all(" ".join(pair.split()[::-1]) in options for pair in said_of)
            elif " from " not in question:
                words = {w for w in question.rstrip("?").split() if f" {w} " in f" {said} "}
                assert any(answer in part and all(w in part for w in words) for part in said)
    with pytest.raises(ValueError, match="for training"):
        sample_elements(rng, split="test", k=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inventory_in_any_order_says_the_same(family: str) -> None:
    rng = rng_for(split="train", purpose="order", index=0)
    picture = question_at(family=family, split="val", index=0).picture
    said = inventory(picture)
    others = {inventory(picture, rng) for _ in range(20)}
    for other in others:
        assert sorted(other.replace(",", "").split()) == sorted(said.replace(",", "").split())
    assert len(others) > 1
