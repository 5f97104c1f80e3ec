"""Frames that a tiny checkpoint predicts: each depends on context, actions and seed alone."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import TINY, tiny_checkpoint

from unimm_eval.adapters import unimm_frames
from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import Picture, UserError

ACTIONS = (("forward 0.5", "left"), ("turn right by 0.25", "stay"), ("", "go to the red ring"))
STEPS = {"num_inference_steps": 3}


def pictures(count):
    rng = np.random.default_rng(0)
    return [Picture(array=rng.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


def apart(one, other):
    """Largest difference of two pictures; a latent between two steps of 255 rounds to either."""
    return np.abs(one.astype(int) - other).max()


@pytest.fixture(scope="module")
def context(model):
    return model.open_context(pictures(4))


@pytest.fixture(scope="module")
def together(context):
    return context.rollout(ACTIONS, seeds=[1, 2, 3], keep="all", **STEPS)


def test_every_frame_or_the_last_is_kept(context, together):
    assert together.shape == (3, 2, 32, 32, 3)
    assert together.dtype == np.uint8
    last = context.rollout(ACTIONS, seeds=[1, 2, 3], **STEPS)
    assert np.array_equal(last, together[:, -1:])


def test_a_sequence_is_the_same_alone_and_from_a_context_of_its_own(model, context, together):
    for row, actions in enumerate(ACTIONS):
        own = model.open_context(pictures(4))
        for opened in (context, own):
            alone = opened.rollout([actions], seeds=[row + 1], keep="all", **STEPS)
            assert apart(alone[0], together[row]) <= 1
    assert apart(together[0], together[1]) > 1


def test_how_many_sequences_go_at_once_changes_nothing(context, together, monkeypatch):
    tokens = TINY.max_length
    entries = TINY.num_layers * TINY.num_kv_heads * TINY.head_dim * tokens
    for size in (1, 2 * 4 * 2 * entries):  # one at a time; at least two
        monkeypatch.setattr(unimm_frames, "CACHE_BYTES", size)
        again = context.rollout(ACTIONS, seeds=[1, 2, 3], keep="all", **STEPS)
        assert apart(again, together) <= 1


def test_guidance_and_solver_reach_the_model(context):
    frames = [
        context.rollout(ACTIONS[:1], seeds=[1], **STEPS, **changes)
        for changes in ({}, {"guidance_scale": 1.0}, {"solver": "heun"})
    ]
    assert apart(frames[0], frames[1]) > 1
    assert apart(frames[0], frames[2]) > 1


def test_what_does_not_fit_is_named(model, context):
    with pytest.raises(UserError, match=r"4 context frames and 20 actions take [\d,]+ tokens"):
        context.rollout([["forward"] * 20], seeds=[1], **STEPS)
    with pytest.raises(UserError, match=r"20 context frames and 0 actions take [\d,]+ tokens"):
        model.open_context(pictures(20))
    for actions in ([], [["one"], ["one", "two"]]):
        with pytest.raises(ValueError, match="actions must be"):
            context.rollout(actions, seeds=[1] * len(actions), **STEPS)


def test_a_model_without_experts_predicts_frames_too(tmp_path):
    config = replace(TINY, feed_forward="modality", hidden_dim=32)
    folder = tiny_checkpoint(tmp_path / "dense", config=config)
    model = UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")
    frames = model.open_context(pictures(1)).rollout(ACTIONS, seeds=[1, 2, 3], **STEPS)
    assert frames.shape == (3, 1, 32, 32, 3)
