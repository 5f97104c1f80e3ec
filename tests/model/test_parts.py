"""Parts of the model on their own: configuration, tokenizer, flow, encoder, checkpoint."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import MOE, tiny_model, tokenizer

from unimm_eval.model import flow
from unimm_eval.model.attention import KVCache
from unimm_eval.model.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.encoders import RawPixels, encoder_from_json
from unimm_eval.model.masks import Visible
from unimm_eval.model.sequence import IGNORED, TextSegment, document_length, pack
from unimm_eval.model.tokenizer import SPECIAL, Tokenizer

WORDS = tokenizer()
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_heads": 3}, "num_kv_heads"),
        ({"head_dim": 7}, "head_dim"),
        ({"top_k": 6}, "top_k"),
        ({"top_k": 1}, "top_k"),
        ({"num_experts": 2}, "top_k"),
        ({"feed_forward": "moa"}, "feed_forward"),
        ({"shared_experts": "some"}, "shared_experts"),
        ({"prediction": "eps"}, "prediction"),
        ({"feed_forward": "shared"}, "hidden_dim"),
        ({"max_length": 5}, "max_length"),
        ({"dim": 30}, "dim"),
        ({"expert_dim": 0}, "expert_dim"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(change, named):
    with pytest.raises(ValueError, match=named):
        replace(MOE, **change)


def test_a_configuration_survives_json_and_refuses_unknown_fields():
    assert ModelConfig.from_json(MOE.to_json()) == MOE
    with pytest.raises(ValueError, match="colour"):
        ModelConfig.from_json({**MOE.to_json(), "colour": 1})
    with pytest.raises(ValueError, match="dim"):
        ModelConfig.from_json({k: v for k, v in MOE.to_json().items() if k != "dim"})


def test_the_counting_rule_of_shared_experts():
    paper = replace(MOE, num_experts=256, top_k=16, shared_experts="modality")
    assert (paper.num_routed, paper.routed_top_k) == (254, 15)
    paper = replace(paper, shared_experts="global")
    assert (paper.num_routed, paper.routed_top_k) == (255, 15)
    paper = replace(paper, shared_experts="none")
    assert (paper.num_routed, paper.routed_top_k) == (256, 16)


@given(st.text(max_size=200))
def test_any_text_goes_through_the_tokenizer_and_never_becomes_a_special_token(text):
    text = text.encode("utf-8", errors="replace").decode()
    ids = WORDS.encode(text)
    assert WORDS.decode(ids) == text
    assert not {WORDS.bos, WORDS.eos, WORDS.boi, WORDS.eoi, WORDS.eot} & set(ids)


@pytest.mark.parametrize("token", SPECIAL)
def test_the_name_of_a_special_token_is_plain_text(token):
    text = f"a {token} circle"
    ids = WORDS.encode(text)
    assert WORDS.decode(ids) == text
    assert getattr(WORDS, token.strip("<>")) not in ids


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text('{"version": "1.0"}')
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        Tokenizer.load(path)


@given(st.floats(0.01, 0.99), st.floats(0.2, 10))
def test_the_shift_of_data_time_is_that_of_noise_time(t, alpha):
    tau = 1 - t
    expected = 1 - alpha * tau / (1 + (alpha - 1) * tau)
    assert float(flow.shift_time(torch.tensor(t, dtype=torch.float64), alpha)) == pytest.approx(
        expected, abs=1e-9
    )


def test_large_latents_are_trained_nearer_to_noise():
    assert flow.shift_factor(256, 1152) == pytest.approx(8.485, abs=1e-3)  # SigLIP 2 So400m
    assert flow.shift_factor(256, 1024) == pytest.approx(8.0)  # DINOv2-L
    assert flow.shift_factor(256, 588) == pytest.approx(6.062, abs=1e-3)  # raw 14-pixel patches
    assert flow.shift_factor(256, 16) == pytest.approx(1.0)  # SD-VAE
    median = flow.shift_time(torch.tensor(0.5), 8.485)
    assert float(median) == pytest.approx(0.105, abs=1e-3)


def test_flow_identities():
    z0, noise = torch.randn(2, 3, 4, dtype=torch.float64)
    for t in (0.0, 0.3, 0.9):
        t = torch.tensor(t, dtype=torch.float64)
        z, v = flow.noisy(z0, noise, t), z0 - noise
        torch.testing.assert_close(z + (1 - t) * v, z0)
        torch.testing.assert_close(z - t * v, noise)
        torch.testing.assert_close(flow.velocity_from_x(z0, z, t, clamp=0.0), v)


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_euler_times_run_from_exactly_zero_to_exactly_one(steps):
    times = flow.euler_times(steps, 8.485)
    assert len(times) == steps + 1
    assert times[0] == 0
    assert times[-1] == 1
    assert (times.diff() > 0).all()


@given(st.integers(1, 4), st.sampled_from([(8, 4), (32, 8), (12, 2)]))
def test_raw_pixels_are_exactly_invertible(count, sizes):
    encoder = RawPixels(picture_size=sizes[0], patch_size=sizes[1])
    rng = np.random.default_rng(count)
    pictures = torch.from_numpy(rng.integers(0, 256, (count, sizes[0], sizes[0], 3), np.uint8))
    latents = encoder.encode(pictures)
    assert latents.shape == (count, encoder.grid**2, encoder.channels)
    assert latents.abs().max() <= 1
    assert torch.equal(encoder.decode(latents), pictures)
    first_patch = pictures[0, : sizes[1], : sizes[1]].flatten().float() / 127.5 - 1
    torch.testing.assert_close(latents[0, 0], first_patch)


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (427, 640), (640, 427), (5, 300), (1, 1)])
def test_any_picture_is_fitted_to_the_square(shape):
    picture = torch.full((*shape, 3), 200, dtype=torch.uint8)
    fitted = RawPixels().fit(picture)
    assert fitted.shape == (32, 32, 3)
    assert (fitted.float() - 200).abs().max() <= 1


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="vq"):
        encoder_from_json({"kind": "vq"})
    with pytest.raises(ValueError, match="patch_size"):
        encoder_from_json({"kind": "raw_pixels", "picture_size": 30, "patch_size": 8})


def test_targets_are_the_next_tokens_and_never_cross_documents_or_pictures():
    docs = [
        [TextSegment(ids=[1, 10, 11])],
        [TextSegment(ids=[1, 20], loss=False), TextSegment(ids=[21])],
    ]
    batch = pack([docs], length=8, pad=0, grid_tokens=4, channels=12)
    assert batch.targets_BS[0].tolist() == [10, 11, IGNORED, IGNORED, 21] + [IGNORED] * 3
    assert batch.valid_BS[0].tolist() == [True] * 6 + [False] * 2
    assert batch.positions_BS[0].tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
    with pytest.raises(ValueError, match="do not fit"):
        pack([docs], length=5, pad=0, grid_tokens=4, channels=12)
    assert sum(map(document_length, docs)) == 6


def test_the_mask_is_an_interval():
    visible = Visible(first_BS=torch.tensor([[0, 0, 2]]), last_BS=torch.tensor([[0, 1, 3]]))
    assert visible.dense(4)[0, 0].tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, True],
    ]


def test_a_cache_longer_than_the_model_allows_is_refused():
    with pytest.raises(ValueError, match="max_length"):
        KVCache(MOE, rows=1, capacity=129, device=CPU, dtype=torch.float32)


def test_a_checkpoint_comes_back_as_it_was_and_its_fingerprint_sees_every_file(tmp_path):
    model = tiny_model()
    encoder = RawPixels(picture_size=4, patch_size=2)
    config = replace(MOE, vocab_size=WORDS.vocab_size)
    assert config == MOE
    for name in ("one", "two"):
        save_checkpoint(
            tmp_path / name,
            model=model,
            tokenizer=WORDS,
            encoder=encoder,
            training={"step": 1},
            dtype=torch.float32,
        )
    one = load_checkpoint(tmp_path / "one", device=CPU, dtype=torch.float32)
    assert asdict(one.files.config) == asdict(MOE)
    for name, weight in model.state_dict().items():
        assert torch.equal(one.model.state_dict()[name], weight)
    two = load_checkpoint(tmp_path / "two", device=CPU, dtype=torch.float32)
    assert one.files.fingerprint == two.files.fingerprint
    (tmp_path / "two" / "training.json").write_text('{"step": 2}')
    changed = load_checkpoint(tmp_path / "two", device=CPU, dtype=torch.float32)
    assert changed.files.fingerprint != one.files.fingerprint
    routers = load_checkpoint(tmp_path / "one", device=CPU, dtype=torch.bfloat16).model
    kinds = {name: p.dtype for name, p in routers.named_parameters()}
    assert all((dtype == torch.float32) == ("router" in name) for name, dtype in kinds.items())


def test_weights_that_do_not_fit_the_configuration_are_named(tmp_path):
    import json

    save_checkpoint(
        tmp_path,
        model=tiny_model(),
        tokenizer=WORDS,
        encoder=RawPixels(picture_size=4, patch_size=2),
        training={},
    )
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    values["model"]["num_layers"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"backbone\.blocks\.2"):
        load_checkpoint(tmp_path, device=CPU, dtype=torch.float32)


def test_a_weighted_token_counts_as_often_as_its_weight():
    words, model = WORDS, tiny_model()
    answer = TextSegment(ids=words.encode("yes"), weight=3.0)
    start = TextSegment(ids=[words.bos, *words.encode("a ring")])
    shape = {"length": 16, "pad": 0, "grid_tokens": 4, "channels": 12}

    def losses(*documents):
        return model.losses(pack([list(documents)], **shape), with_balance=False)

    plain = replace(answer, weight=1.0)
    weighted, once, without = losses([start, answer]), losses([start, plain]), losses([start])
    extra = once.text_sum - without.text_sum
    torch.testing.assert_close(weighted.text_sum, without.text_sum + 3 * extra)
    assert weighted.text_count == without.text_count + 3 * len(plain.ids)
