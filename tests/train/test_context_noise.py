"""What `context_noise` and the law of times change in the data, and what they leave alone."""

import numpy as np
import pytest
import torch
from small_recipe import small_recipe

from unimm_eval.model import flow
from unimm_eval.model.sequence import PictureSegment
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.mixture import WorldMixture, tokenizer_texts

ROWS = 40


@pytest.fixture(scope="module")
def words():
    return Tokenizer.train(iter(tokenizer_texts(0, 100)), vocab_size=768)


def documents(words, source, *, stage_law=None, **changes):
    stages = ({"from_step": 0, "mixture": {source: 1.0}, "logit_normal": stage_law},)
    mixture = WorldMixture(small_recipe(stages=stages, **changes), words)
    return [document for k in range(ROWS) for document in mixture.row(k)]


def pictures(documents):
    return [part for doc in documents for part in doc if isinstance(part, PictureSegment)]


def texts(documents):
    return [list(part.ids) for doc in documents for part in doc if hasattr(part, "ids")]


def test_by_default_captions_follow_clean_pictures(words):
    for picture in pictures(documents(words, "image_to_text")):
        assert (picture.t, picture.flow, picture.noise) == (1.0, False, None)


def test_as_in_the_paper_each_captioned_picture_is_noised_and_learned(words):
    shown = pictures(documents(words, "image_to_text", context_noise="paper"))
    assert all(picture.flow and 0 < picture.t < 1 for picture in shown)
    assert len({picture.t for picture in shown}) == len(shown)
    assert len({picture.noise.tobytes() for picture in shown}) == len(shown)
    u = np.sort([flow.shift_time(torch.tensor(p.t), 1 / ALPHA) for p in shown])  # unshifted
    at = (np.arange(len(u)) + 0.5) / len(u)
    assert np.abs(u - at).max() < 1.63 / np.sqrt(len(u))  # Kolmogorov-Smirnov, 1%


def test_a_share_of_captioned_pictures_can_be_clean(words):
    shown = pictures(documents(words, "image_to_text", clean_share=0.25))
    clean = [picture.t == 1.0 for picture in shown]
    assert len(clean) > 200
    assert np.mean(clean) == pytest.approx(0.25, abs=0.1)
    assert all(picture.flow == (picture.t < 1) for picture in shown)


def test_the_data_do_not_depend_on_the_noise(words):
    clean = documents(words, "image_to_text")
    for changes in ({"context_noise": "paper"}, {"clean_share": 0.5}):
        other = documents(words, "image_to_text", **changes)
        assert texts(other) == texts(clean)
        for ours, theirs in zip(pictures(other), pictures(clean), strict=True):
            assert np.array_equal(ours.latents, theirs.latents)


def test_questions_are_asked_about_clean_pictures(words):
    for picture in pictures(documents(words, "chat", context_noise="paper")):
        assert (picture.t, picture.flow) == (1.0, False)


ALPHA = flow.shift_factor(16, 192)


LAW = {"mean": -0.8, "std": 0.8}


@pytest.mark.parametrize(
    "changes",
    [
        {"logit_normal": LAW},
        {"logit_normal": {"mean": 3.0, "std": 0.1}, "stage_law": LAW},
    ],
    ids=["of the recipe", "of the stage, before the recipe's"],
)
def test_the_law_of_times_changes_nothing_but_the_times(words, changes):
    uniform = pictures(documents(words, "text_to_image"))
    normal = pictures(documents(words, "text_to_image", **changes))
    for ours, theirs in zip(normal, uniform, strict=True):
        assert np.array_equal(ours.noise, theirs.noise)
        u = flow.shift_time(torch.tensor(theirs.t, dtype=torch.float64), 1 / ALPHA)
        expected = flow.shift_time(flow.logit_normal(u, **LAW), ALPHA)
        assert ours.t == pytest.approx(float(expected), rel=1e-4)


def test_what_a_noised_picture_shows_is_told_and_both_are_learned(words):
    told = documents(words, "noisy_inventory")
    shown = pictures(told)
    assert len(shown) == len(told) > 100
    assert all(picture.flow and 0 < picture.t < 1 for picture in shown)
    for document in told:
        words_behind = document[-1]
        assert words_behind.loss
        assert words.decode(words_behind.ids[:-1]).count(",") < 4  # at most four things
