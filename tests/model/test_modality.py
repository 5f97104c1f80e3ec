"""Weights of each modality's own: the Mixture-of-Transformers and its parts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import VARIANTS, batch_of, picture, tiny_model, tokenizer

from unimm_eval.model.modality import Modalities
from unimm_eval.model.sequence import caption_document, text_document
from unimm_eval.model.unified import UnifiedModel

MOT = VARIANTS["mixture of transformers"]
SHARED_ATTENTION = VARIANTS["per-modality"]
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


def mixed_batch(config):
    words = tokenizer()
    row = [
        text_document(words, "a red circle"),
        caption_document(words, "a ring", picture(config, seed=1, t=0.3, flow=True)),
    ]
    return batch_of(config, [row, row[:1]], length=40)


@settings(deadline=None)
@given(st.lists(st.integers(0, 1), min_size=1, max_size=30))
def test_what_is_split_is_joined_in_its_place(kinds):
    modalities = Modalities.apart(torch.tensor(kinds))
    x = torch.arange(len(kinds) * 3.0).view(-1, 3)
    parts = modalities.split(x)
    for kind, part in enumerate(parts):
        assert torch.equal(part, x[modalities.of_N == kind])
    assert torch.equal(modalities.join(parts), x)


def test_equal_weights_for_both_modalities_are_shared_attention():
    shared = tiny_model(SHARED_ATTENTION)
    weights = shared.state_dict()
    separate = {}
    for name in UnifiedModel(MOT).state_dict():
        one = name if name in weights else name.replace(".experts.0", "").replace(".experts.1", "")
        separate[name] = weights[one]
    model = tiny_model(MOT)
    model.load_state_dict(separate)
    batch = mixed_batch(MOT)
    torch.testing.assert_close(
        model.hidden(batch, batch.latents_ITC), shared.hidden(batch, batch.latents_ITC), **TOLERANCE
    )


def test_every_weight_of_the_backbone_belongs_to_one_modality():
    names = dict(tiny_model(MOT).backbone.named_parameters())
    assert all(".experts." in name for name in names)
    count = sum(weight.numel() for weight in names.values())
    dense = VARIANTS["shared"]
    assert count == 2 * sum(p.numel() for p in tiny_model(dense).backbone.parameters())


@pytest.mark.parametrize(("kept", "gone"), [("0", "1"), ("1", "0")])
def test_tokens_go_through_the_weights_of_their_own_modality_alone(kept, gone):
    model = tiny_model(MOT)
    rows = []
    for name, module in model.backbone.named_modules():
        if name.split(".")[-2:-1] == ["experts"] and name.endswith(gone):
            module.register_forward_hook(lambda m, args, _: rows.append(args[0].shape[0]))
    batch = mixed_batch(MOT)
    model.hidden(batch, batch.latents_ITC)
    wanted = int((batch.modality_BS == int(gone)).sum())
    # A block has two norms, four projections and a feed-forward layer; a norm is behind the last.
    assert rows == [wanted] * (7 * MOT.num_layers + 1)

    with torch.no_grad():
        for name, weight in model.backbone.named_parameters():
            if f".experts.{gone}." in name:
                weight.fill_(torch.nan)
    alone = batch_of(MOT, [[text_document(tokenizer(), "a red circle")]], length=9)
    alone = replace(alone, modality_BS=torch.full_like(alone.modality_BS, int(kept)))
    assert model.hidden(alone, alone.latents_ITC).isfinite().all()


def test_a_batch_without_pictures_leaves_their_weights_without_gradient():
    model = tiny_model(MOT).requires_grad_(True)
    batch = batch_of(MOT, [[text_document(tokenizer(), "a red circle")]], length=9)
    model.losses(batch, with_balance=False).text_sum.backward()
    for name, weight in model.backbone.named_parameters():
        assert weight.grad is not None
        assert bool(weight.grad.any()) == (".experts.0." in name), name


def test_initial_weights_that_write_to_the_residual_stream_are_small():
    config = replace(MOT, dim=64, num_heads=8, hidden_dim=128, num_layers=8)
    model = UnifiedModel(config).initialise(seed=0)
    for name, weight in model.backbone.named_parameters():
        if weight.ndim == 2:
            residual = "output" in name or "down" in name
            expected = 0.02 / 4 if residual else 0.02
            assert float(weight.detach().std()) == pytest.approx(expected, rel=0.15), name
