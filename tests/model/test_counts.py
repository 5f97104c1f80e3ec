"""Any configuration is refused by name or can be built, and is counted as it is built."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MOE, batch_of, picture, tiny_model, tokenizer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.counts import count_parameters, flops_per_token, mean_visible_keys, memory
from unimm_eval.model.meta import meta_model
from unimm_eval.model.presets import preset
from unimm_eval.model.sequence import caption_document, document_length

BASE = replace(MOE, hidden_dim=24).to_json()
sizes = st.one_of(
    st.integers(1, 8).map(lambda n: 8 * n),
    st.integers(-2, 70),
    st.sampled_from([2**20, 2**20 + 1, 2**40, 10**30]),
)
few = st.one_of(st.integers(0, 6), st.sampled_from([1008, 1023, 1024]))
FIELDS = {
    "vocab_size": sizes,
    "dim": sizes,
    "num_layers": st.one_of(st.integers(0, 3), st.just(10**9)),
    "num_heads": few,
    "num_kv_heads": few,
    "head_dim": sizes,
    "max_length": st.one_of(st.integers(0, 60), st.sampled_from([2**24, 2**24 + 1])),
    "attention": st.sampled_from(["shared", "modality"]),
    "feed_forward": st.sampled_from(["shared", "modality", "moe"]),
    "hidden_dim": sizes,
    "num_experts": few,
    "top_k": few,
    "expert_dim": sizes,
    "shared_experts": st.sampled_from(["none", "global", "modality"]),
    "latent_channels": sizes,
    "latent_grid": st.integers(0, 9),
    "understanding_channels": sizes,
    "rope_theta": st.sampled_from([0.5, 1, 10_000.0]),
    "time_dim": sizes,
}
changes = st.lists(
    st.one_of(*(st.tuples(st.just(name), values) for name, values in FIELDS.items())), max_size=5
).map(dict)


def check_counts(config: ModelConfig) -> None:
    """Against the model that the configuration builds."""
    weights = {name: weight.numel() for name, weight in meta_model(config).named_parameters()}

    def among(*parts: str) -> int:
        return sum(count for name, count in weights.items() if any(p in name for p in parts))

    counts = count_parameters(config)
    assert counts.everything == sum(weights.values())
    assert counts.norms == among("norm")
    assert counts.visual_adapters == among("latent_in", "latent_out", "understood_in")
    assert counts.time_embedding == among("time.")
    assert counts.active <= counts.total
    assert memory(config).weights == 2 * counts.everything + 2 * among("router")


@settings(deadline=None, max_examples=200)
@given(changes)
def test_a_configuration_is_refused_by_name_or_built_and_counted(changed):
    try:
        config = ModelConfig.from_json({**BASE, **changed})
    except ValueError as error:
        assert any(name in str(error) for name in changed)  # noqa: PT017 - both ends are right
    else:
        check_counts(config)


VARIANTS = list(
    product(
        ("shared", "modality"),
        (
            {"feed_forward": "shared"},
            {"feed_forward": "modality"},
            {"shared_experts": "none"},
            {"shared_experts": "global"},
            {"shared_experts": "modality"},
        ),
    )
)


@pytest.mark.parametrize(("attention", "layer"), VARIANTS)
def test_every_variant_is_counted_as_it_is_built(attention, layer):
    check_counts(ModelConfig.from_json({**BASE, "attention": attention, **layer}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_experts": 1024}, "num_experts is 1024, more than 1023"),
        ({"expert_dim": 12}, "expert_dim must be a multiple of 8"),
        ({"dim": 36}, "dim must be a multiple of 8 with experts"),
        ({"dim": 2**20 + 8}, "too large a model: dim is 1048584"),
        ({"num_layers": 10**9}, "too large a model: num_layers"),
        ({"time_dim": 15}, "time_dim must be even"),
        ({"rope_theta": 0.5}, "rope_theta must be at least 1"),
        ({"max_length": 2**24 + 1}, "max_length"),
        ({"attention": "own"}, "attention must be one of"),
    ],
)
def test_what_cannot_work_is_refused_by_name(change, named):
    with pytest.raises(ValueError, match=named):
        replace(MOE, **change)


@pytest.mark.parametrize("attention", ["shared", "modality"])
@pytest.mark.parametrize("feed_forward", ["shared", "modality"])
def test_flops_are_those_that_torch_counts(attention, feed_forward):
    config = replace(MOE, attention=attention, feed_forward=feed_forward, hidden_dim=24)
    model = tiny_model(config)
    document = caption_document(tokenizer(), "a red circle", picture(config, seed=1))
    length = document_length(document)
    batch = batch_of(config, [[document]], length=length)
    of_picture = batch.modality_BS[0] == 1
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        hidden = model.hidden(batch, batch.latents_ITC)[0]
        model.text_head(hidden[~of_picture])
        model.latent_out(hidden[of_picture])
    text, image = (
        flops_per_token(config, keys=length, modality=modality, training=False)
        for modality in ("text", "image")
    )
    expected = text * int((~of_picture).sum()) + image * int(of_picture.sum())
    assert counter.get_total_flops() == expected


def test_flops_of_experts_are_those_of_one_layer_as_wide_as_all_active_ones():
    moe = preset("moe-e256").config
    for shared in ("none", "global", "modality"):
        config = replace(moe, shared_experts=shared)
        dense = replace(config, feed_forward="shared", hidden_dim=16 * 512)
        router = 6 * config.num_layers * config.dim * config.num_routed
        for modality in ("text", "image"):
            ours = flops_per_token(config, keys=4096, modality=modality)
            assert ours == flops_per_token(dense, keys=4096, modality=modality) + router


def test_flops_of_training_follow_the_stated_convention():
    config = preset("dense-1.5b").config
    active = count_parameters(config).active - config.vocab_size * config.dim
    expected = 6 * active + 12 * config.num_layers * config.dim * 4096
    assert flops_per_token(config, keys=4096) == expected
    assert flops_per_token(config, keys=4096, training=False) == expected / 3


@pytest.mark.parametrize("block", [1, 4, 16])
def test_mean_visible_keys_are_those_of_the_mask(block):
    index = torch.arange(48)
    last = index // block * block + block - 1
    assert mean_visible_keys(48, block=block) == float((last + 1).double().mean())
