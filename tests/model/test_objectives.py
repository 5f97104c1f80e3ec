"""The training losses equal the formulas of the paper, written out."""

import math
from dataclasses import replace

import pytest
import torch
from tiny import MOE, batch_of, picture, tiny_model, tokenizer

from unimm_eval.model import flow
from unimm_eval.model.sequence import PictureSegment, TextSegment, document_length

WORDS = tokenizer()
SIGLIP2 = 8.485
TIMES = (0.0, 0.3, 0.6, 0.97)
"""Of pictures in one document; the last is where 1 − t is clamped."""


def document(times=TIMES, *, weight=1.0):
    """Pictures at times of their own, each followed by text; all count in both losses."""
    parts: list[TextSegment | PictureSegment] = [TextSegment(ids=[WORDS.bos, WORDS.boi])]
    for i, t in enumerate(times):
        parts.append(picture(MOE, seed=i, t=t, flow=True))
        ids = [WORDS.eoi, *WORDS.encode("a red circle"), WORDS.boi]
        parts.append(TextSegment(ids=ids, weight=weight))
    return parts


def losses(model, parts):
    batch = batch_of(model.config, [[parts]], length=document_length(parts))
    return model.losses(batch, with_balance=False)


def hidden(model, parts):
    """Final states of one document; z_t of each picture; where each picture's tokens stand."""
    batch = batch_of(model.config, [[parts]], length=document_length(parts))
    z = [
        torch.from_numpy((1 - part.t) * part.noise + part.t * part.latents).float()
        for part in parts
        if isinstance(part, PictureSegment)
    ]
    return model.hidden(batch, torch.stack(z))[0], z, batch.index_IT


@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_text_loss_is_the_mean_surprise_at_the_next_token(weight):
    """Eq. 1; a token behind a picture is not a target, for image states have another head."""
    model, parts = tiny_model(), document(weight=weight)
    states, _, _ = hidden(model, parts)
    nats, count, at = 0.0, 0.0, 0
    for part in parts:
        if isinstance(part, PictureSegment):
            at += len(part.latents)
            continue
        for i, token in enumerate(part.ids):
            if i > 0:  # the first is <bos> or stands behind a picture
                p = model.text_head(states[at + i - 1]).double().softmax(-1)[token]
                nats -= part.weight * math.log(float(p))
                count += part.weight
        at += len(part.ids)
    ours = losses(model, parts)
    assert float(ours.text_sum) == pytest.approx(nats, rel=1e-5)
    assert float(ours.text_count) == count


@pytest.mark.parametrize("prediction", ["x", "v"])
def test_flow_loss_is_the_mean_squared_error_of_the_velocity(prediction):
    """Eq. 2; each picture of a document at its own time. x-pred divides both the predicted and the
    true z0 − z_t by the same max(1 − t, 0.05)."""
    model, parts = tiny_model(replace(MOE, prediction=prediction)), document()
    states, z, index = hidden(model, parts)
    expected = 0.0
    for part, z_t, where in zip(parts[1::2], z, index, strict=True):
        z0, noise = torch.from_numpy(part.latents), torch.from_numpy(part.noise)
        out = model.latent_out(states[where])
        if prediction == "v":
            error = out - (z0 - noise)
        else:
            divisor = max(1 - part.t, 0.05)
            error = (out - z_t) / divisor - (z0 - z_t) / divisor
            torch.testing.assert_close(error, (out - z0) / divisor, atol=1e-4, rtol=1e-4)
        expected += float(error.double().square().mean())
    ours = losses(model, parts)
    assert float(ours.flow_sum) == pytest.approx(expected, rel=1e-5)
    assert int(ours.flow_count) == len(TIMES)


def test_a_picture_that_is_context_alone_has_no_flow_loss():
    parts = document()
    context = [replace(p, flow=False) if isinstance(p, PictureSegment) else p for p in parts]
    ours = losses(tiny_model(), context)
    assert int(ours.flow_count) == 0
    assert float(ours.flow_sum) == 0.0
    assert torch.equal(ours.text_sum, losses(tiny_model(), parts).text_sum)


def test_each_picture_has_a_time_of_its_own():
    """The first picture's share of the flow loss does not move with the times of later ones, and
    the text behind a picture does."""
    model = tiny_model()
    first = [replace(p, flow=i == 1) if i % 2 else p for i, p in enumerate(document())]
    moved = [replace(p, t=0.5) if i in (3, 5) else p for i, p in enumerate(first)]
    ours, theirs = losses(model, first), losses(model, moved)
    torch.testing.assert_close(ours.flow_sum, theirs.flow_sum, rtol=1e-6, atol=0)
    assert abs(float(ours.text_sum - theirs.text_sum)) > 1e-3


def test_a_batch_without_pictures_and_one_without_text_have_losses_of_zero():
    text = [TextSegment(ids=[WORDS.bos, *WORDS.encode("a ring")])]
    ours = losses(tiny_model(), text)
    assert (float(ours.flow_sum), int(ours.flow_count)) == (0.0, 0)
    silent = [TextSegment(ids=[WORDS.bos, WORDS.boi], loss=False), picture(MOE, seed=1, flow=True)]
    ours = losses(tiny_model(), silent)
    assert (float(ours.text_sum), float(ours.text_count)) == (0.0, 0.0)


def test_uniform_times_are_shifted_to_noise_by_large_latents():
    """With the shift of SigLIP 2 text behind a picture is learned from near-noise (median t .105,
    1.3% above .9), while questions are answered at t = 1."""
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    t = flow.shift_time(u, SIGLIP2)
    assert float(t.median()) == pytest.approx(0.105, abs=5e-4)
    assert float((t > 0.9).double().mean()) == pytest.approx(0.013, abs=5e-4)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-0.8, 0.8), (1.5, 0.3)])
def test_logit_normal_times_have_a_normal_logit(mean, std):
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t = flow.logit_normal(u, mean=mean, std=std)
    assert (t.diff() > 0).all()
    logit = t.logit()
    assert float(logit.mean()) == pytest.approx(mean, abs=1e-6)
    assert float(logit.std()) == pytest.approx(std, rel=1e-3)
    within = ((logit - mean).abs() < std).double().mean()
    assert float(within) == pytest.approx(0.6827, abs=1e-3)


def test_the_shift_of_a_logit_is_a_subtraction():
    """logit t' = logit t − ln α, so a shifted logit-normal law is one of another mean."""
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    shifted = flow.shift_time(flow.logit_normal(u, mean=0.3, std=1.2), SIGLIP2)
    other = flow.logit_normal(u, mean=0.3 - math.log(SIGLIP2), std=1.2)
    torch.testing.assert_close(shifted, other)
