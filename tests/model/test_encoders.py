"""Frozen encoders against the libraries' own forward passes, on tiny checkpoints on disk."""

import json
from dataclasses import replace

import frozen
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from unimm_eval.model.encoders import Dual, MissingWeights, RawPixels, encoder_from_json, reread
from unimm_eval.model.encoders.decoders import Statistics
from unimm_eval.model.encoders.vae import shuffled, unshuffled

CPU = torch.device("cpu")
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with every tiny checkpoint."""
    pytest.importorskip("diffusers")
    root = tmp_path_factory.mktemp("frozen")
    frozen.siglip_model().save_pretrained(root / "siglip")
    frozen.siglip_vision().save_pretrained(root / "siglip_vision")
    frozen.dinov2().save_pretrained(root / "dinov2")
    frozen.dinov2_with_registers().save_pretrained(root / "registers")
    frozen.rae().save_pretrained(root / "rae")
    frozen.kl_vae(4).save_pretrained(root / "sd_vae")
    frozen.kl_vae(16).save_pretrained(root / "flux_vae")
    frozen.published_decoder(root / "decoder")
    return root


CASES = {
    "siglip2": {"kind": "siglip2", "weights": "siglip", "decoder": "decoder", "channels": 32},
    "siglip2, vision tower alone": {
        "kind": "siglip2",
        "weights": "siglip_vision",
        "decoder": None,
        "channels": 32,
    },
    "dinov2": {"kind": "dinov2", "weights": "dinov2", "decoder": None, "channels": 32},
    "dinov2, registers": {
        "kind": "dinov2",
        "weights": "registers",
        "decoder": None,
        "channels": 32,
    },
    "dinov2, RAE": {"kind": "dinov2", "weights": "rae", "decoder": "rae", "channels": 64},
    "webssl": {"kind": "webssl", "weights": "dinov2", "decoder": "decoder", "channels": 32},
    "sd_vae": {"kind": "sd_vae", "weights": "sd_vae"},
    "flux_vae": {"kind": "flux_vae", "weights": "flux_vae"},
}
CHANNELS = {"sd_vae": 16, "flux_vae": 64}


def described(root, case, **changes):
    values = {**CASES[case], **changes}
    for name in ("weights", "decoder"):
        if isinstance(values.get(name), str):
            values[name] = str(root / values[name])
    return encoder_from_json(values)


def load(root, case, **changes):
    return described(root, case, **changes).load(device=CPU, dtype=torch.float32)


def pictures(encoder, count=2):
    size = (count, encoder.picture_size, encoder.picture_size, 3)
    rng = np.random.default_rng(7)
    return torch.from_numpy(rng.integers(0, 256, size, dtype=np.uint8))


@pytest.mark.parametrize("case", CASES)
def test_every_encoder_gives_256_tokens_and_comes_back_from_its_json(root, case):
    encoder = load(root, case)
    shown = pictures(encoder)
    latents = encoder.encode(shown)
    channels = CASES[case].get("channels") or CHANNELS[case]
    assert (encoder.tokens, encoder.grid, encoder.channels) == (256, 16, channels)
    assert latents.shape == (2, 256, channels)
    assert latents.dtype == torch.float32
    assert not latents.requires_grad
    assert not latents.is_inference()
    torch.testing.assert_close(encoder.encode(shown[1:])[0], latents[1], **TOLERANCE)

    values = json.loads(json.dumps(encoder.to_json()))
    assert len(values["weights"]["sha256"]) == 64
    again = encoder_from_json(values).load(device=CPU, dtype=torch.float32)
    assert torch.equal(again.encode(shown), latents)
    assert again.to_json() == values
    assert encoder.decodes == (values.get("decoder", values["kind"]) is not None)
    if encoder.decodes:
        side = encoder.decode(latents).shape[1]
        assert encoder.decode(latents).shape == (2, side, side, 3)
        assert encoder.decode(latents).dtype == torch.uint8
        assert side == 256


def test_siglip_features_are_its_last_hidden_states_normalised_without_affine(root):
    from transformers import SiglipVisionModel

    encoder = load(root, "siglip2")
    model = SiglipVisionModel.from_pretrained(root / "siglip", dtype=torch.float32)
    shown = pictures(encoder)
    planes = shown.permute(0, 3, 1, 2).float() / 127.5 - 1
    hidden = model(planes, output_hidden_states=True).hidden_states[-1]
    expected = F.layer_norm(hidden, (32,), eps=1e-6)
    torch.testing.assert_close(encoder.encode(shown), expected, **TOLERANCE)


@pytest.mark.parametrize(("case", "dropped"), [("dinov2", 1), ("dinov2, registers", 5)])
def test_dino_features_drop_class_token_registers_and_affine(root, case, dropped):
    from transformers import AutoModel

    encoder = load(root, case)
    model = AutoModel.from_pretrained(root / CASES[case]["weights"], dtype=torch.float32)
    shown = pictures(encoder)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    planes = ((shown / 255 - mean) / std).permute(0, 3, 1, 2)
    hidden = model(planes, output_hidden_states=True).hidden_states[-1][:, dropped:]
    expected = F.layer_norm(hidden, (32,), eps=1e-6)
    torch.testing.assert_close(encoder.encode(shown), expected, **TOLERANCE)
    as_published = model(planes).last_hidden_state[:, dropped:]
    assert (expected - as_published).abs().max() > 0.05
    if case == "dinov2":  # WebSSL is the same class; its decoder takes the features as they are
        torch.testing.assert_close(load(root, "webssl").encode(shown), as_published, **TOLERANCE)


def test_an_autoencoder_rae_encodes_and_decodes_as_diffusers_does(root):
    from diffusers import AutoencoderRAE

    encoder = load(root, "dinov2, RAE")
    rae = AutoencoderRAE.from_pretrained(root / "rae").eval()
    shown = pictures(encoder)
    with torch.no_grad():
        maps = rae.encode(shown.permute(0, 3, 1, 2) / 255).latent
        decoded = rae.decode(maps).sample
    latents = encoder.encode(shown)
    torch.testing.assert_close(latents, maps.flatten(2).transpose(1, 2), **TOLERANCE)
    expected = (decoded * 255).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert (encoder.decode(latents).float() - expected).abs().max() <= 1


@pytest.mark.parametrize("with_statistics", [False, True])
def test_a_published_decoder_gives_the_pictures_of_diffusers_decoder(tmp_path, with_statistics):
    pytest.importorskip("diffusers")
    shape = (32, 16, 16)
    mean, var = torch.randn(shape), 0.5 + torch.rand(shape)
    statistics = {"mean": mean, "var": var} if with_statistics else None
    network = frozen.published_decoder(tmp_path / "decoder", statistics=statistics)
    frozen.dinov2().save_pretrained(tmp_path / "dinov2")
    encoder = load(tmp_path, "webssl")
    shown = pictures(encoder)
    latents = encoder.encode(shown)
    features = latents
    if with_statistics:
        scale = (var + 1e-5).sqrt()
        features = latents * scale.flatten(1).T + mean.flatten(1).T
    plain = load(tmp_path, "webssl", decoder=None).encode(shown)
    torch.testing.assert_close(features, plain, atol=1e-4, rtol=0)
    with torch.no_grad():
        logits = network(features).logits
    std, middle = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    expected = network.unpatchify(logits).permute(0, 2, 3, 1) * std + middle
    planes = encoder.networks.decoder(latents).permute(0, 2, 3, 1)
    torch.testing.assert_close(planes, expected, atol=1e-4, rtol=0)
    assert (encoder.decode(latents) - expected.mul(255).clamp(0, 255)).abs().max() <= 1


def test_statistics_of_one_number_are_those_of_every_element():
    one = Statistics.of_planes(torch.zeros(1), torch.full((1,), 2.0), grid=2, channels=3)
    latents = torch.randn(1, 4, 3)
    torch.testing.assert_close(one.normalise(latents), latents / 2)
    with pytest.raises(ValueError, match="3 channels on a grid of 2"):
        Statistics.of_planes(torch.zeros(5, 2, 2), torch.ones(1), grid=2, channels=3)


@pytest.mark.parametrize("size", [(224, 224), (300, 300), (97, 97)])
@pytest.mark.parametrize("case", ["siglip2", "dinov2", "webssl"])
def test_pictures_are_prepared_as_the_published_processors_do(root, case, size):
    from transformers import BitImageProcessor, SiglipImageProcessor

    from unimm_eval.model.encoders.pictures import to_planes

    encoder = described(root, case)
    picture = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
    if case == "siglip2":
        processor = SiglipImageProcessor(size={"height": 224, "width": 224}, resample=2)
    else:  # the size of the shorter side is RAE's; the rest is DINOv2's
        processor = BitImageProcessor(
            size={"shortest_edge": 224},
            crop_size={"height": 224, "width": 224},
            resample=3,
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
    expected = processor(picture.permute(2, 0, 1), return_tensors="pt")["pixel_values"]
    fitted = encoder.fit(picture)
    torch.testing.assert_close(
        to_planes(fitted[None], encoder.mean, encoder.std), expected, **TOLERANCE
    )


def test_siglip_stretches_an_oblong_picture_as_its_processor_does(root):
    from transformers import SiglipImageProcessor

    picture = torch.randint(0, 256, (150, 320, 3), dtype=torch.uint8)
    processor = SiglipImageProcessor(size={"height": 224, "width": 224}, resample=2)
    expected = processor(picture.permute(2, 0, 1), return_tensors="pt")["pixel_values"]
    fitted = described(root, "siglip2").fit(picture)
    torch.testing.assert_close(fitted.permute(2, 0, 1)[None] / 127.5 - 1, expected, **TOLERANCE)


@pytest.mark.parametrize("case", ["sd_vae", "flux_vae"])
def test_a_vae_gives_the_scaled_mean_unshuffled_and_back(root, case):
    from diffusers import AutoencoderKL

    encoder = load(root, case)
    vae = AutoencoderKL.from_pretrained(root / case).eval()
    scale, shift = vae.config.scaling_factor, vae.config.shift_factor or 0.0
    shown = pictures(encoder, count=1)
    with torch.no_grad():
        posterior = vae.encode(shown.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist
        decoded = vae.decode(posterior.mean).sample
    latents = encoder.encode(shown)
    assert posterior.mean.shape == (1, encoder.channels // 4, 32, 32)
    torch.testing.assert_close(shuffled(latents), (posterior.mean - shift) * scale, **TOLERANCE)
    # The first token holds the upper left square of four points, channel by channel.
    square = ((posterior.mean - shift) * scale)[0, :, :2, :2]
    torch.testing.assert_close(latents[0, 0], square.flatten(), **TOLERANCE)
    expected = ((decoded + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    assert (encoder.decode(latents).float() - expected).abs().max() <= 1


def test_shuffling_back_before_the_loss_leaves_it_as_it_is():
    maps = torch.randn(3, 16, 32, 32, dtype=torch.float64)
    tokens = unshuffled(maps)
    assert tokens.shape == (3, 256, 64)
    assert torch.equal(shuffled(tokens), maps)
    prediction = torch.randn_like(tokens)
    in_tokens = (prediction - tokens).square().mean((1, 2))
    in_maps = (shuffled(prediction) - maps).square().mean((1, 2, 3))
    torch.testing.assert_close(in_tokens, in_maps, atol=1e-12, rtol=0)


def test_raw_pixels_of_the_paper_are_588_channels():
    encoder = RawPixels(picture_size=224, patch_size=14)
    assert (encoder.tokens, encoder.channels) == (256, 588)
    assert encoder.load(device=CPU, dtype=torch.float32) is encoder


def test_networks_are_frozen_and_no_part_of_an_encoder_s_equality(root):
    encoder = load(root, "siglip2")
    parameters = list(encoder.networks.transformer.parameters())
    parameters += list(encoder.networks.decoder.parameters())
    assert not any(parameter.requires_grad for parameter in parameters)
    assert not encoder.networks.transformer.training
    assert encoder == load(root, "siglip2")
    with pytest.raises(RuntimeError, match="loaded"):
        described(root, "siglip2").encode(pictures(encoder))


def test_one_tower_has_one_fingerprint_in_any_file(root, tmp_path):
    from transformers import SiglipVisionModel

    vision = SiglipVisionModel.from_pretrained(root / "siglip", dtype=torch.float32)
    vision.save_pretrained(tmp_path / "alone")
    whole = load(root, "siglip2", decoder=None)
    alone = load(tmp_path, "siglip2", weights="alone", decoder=None)
    assert alone.weights.sha256 == whole.weights.sha256


def test_other_weights_than_those_trained_with_are_refused(root):
    values = load(root, "sd_vae").to_json()
    values["weights"]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="other weights than"):
        encoder_from_json(values).load(device=CPU, dtype=torch.float32)


@pytest.mark.parametrize(
    ("values", "repository", "size"),
    [
        ({"kind": "siglip2"}, "google/siglip2-so400m-patch14-224", "4.5 GB"),
        ({"kind": "dinov2"}, "nyu-visionx/RAE-dinov2-wReg-large-ViTXL-n08", "2.9 GB"),
        ({"kind": "webssl"}, "facebook/webssl-dino300m-full2b-224", "1.2 GB"),
        ({"kind": "sd_vae"}, "stabilityai/sd-vae-ft-mse", "0.3 GB"),
        ({"kind": "flux_vae"}, "black-forest-labs/FLUX.1-schnell", "0.2 GB"),
        (
            {
                "kind": "dual",
                "understanding": {"kind": "siglip2"},
                "generating": {"kind": "sd_vae"},
            },
            "google/siglip2-so400m-patch14-224",
            "4.5 GB",
        ),
    ],
)
def test_missing_weights_say_what_to_download(tmp_path, monkeypatch, values, repository, size):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = encoder_from_json(values)
    for attempt in (encoder.check, lambda: encoder.load(device=CPU, dtype=torch.float32)):
        with pytest.raises(MissingWeights) as caught:
            attempt()
        assert repository in caught.value.fix
        assert size in caught.value.fix
        assert "hf download" in caught.value.fix
        assert "--revision main" in caught.value.fix


@pytest.mark.parametrize("source", ["x" * 5000, "~nobody/x", "../x/y", "a/b/c", "a\0b", "/"])
def test_a_source_that_is_no_place_is_missing_weights(tmp_path, monkeypatch, source):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights):
        encoder_from_json({"kind": "sd_vae", "weights": source}).check()


def test_weights_in_the_hub_s_cache_are_found_and_their_commit_is_pinned(
    root, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--somebody--vae"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(root / "sd_vae")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    values = {"kind": "sd_vae", "weights": "somebody/vae"}
    encoder = encoder_from_json(values).load(device=CPU, dtype=torch.float32)
    assert encoder.weights.revision == commit
    assert encoder.weights.sha256 == load(root, "sd_vae").weights.sha256


def test_pickled_weights_are_refused_with_the_command_that_converts_them(root, tmp_path):
    folder = tmp_path / "decoder"
    folder.mkdir()
    (folder / "config.json").write_bytes((root / "decoder" / "config.json").read_bytes())
    torch.save({}, folder / "model.pt")
    encoder = described(root, "siglip2", decoder=str(folder))
    with pytest.raises(MissingWeights, match=r"unimm-train convert .*model\.pt .*\.safetensors"):
        encoder.check()


@pytest.mark.parametrize(
    ("case", "changes", "named"),
    [
        ("siglip2", {"channels": 1152}, "hidden_size is 32, not 1152"),
        ("siglip2", {"patch_size": 16}, "patch_size is 14, not 16"),
        ("siglip2", {"picture_size": 252}, "image_size is 224, not 252"),
        ("siglip2", {"weights": "dinov2"}, "siglip2 is of type siglip or"),
        ("siglip2", {"weights": "sd_vae"}, "siglip2 is of type siglip or"),
        ("sd_vae", {"weights": "flux_vae"}, "latent_channels is 16, not 4"),
        ("flux_vae", {"weights": "dinov2"}, "not an AutoencoderKL"),
        ("dinov2, RAE", {"decoder": None}, "must be given as the decoder"),
        ("dinov2, RAE", {"channels": 32}, "encoder_hidden_size is 64, not 32"),
        ("webssl", {"decoder": "dinov2"}, "decoder_hidden_size is None"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_before_weights_are_read(root, case, changes, named):
    with pytest.raises(ValueError, match=named):
        described(root, case, **changes).check()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kind": "vq"}, "unknown encoder 'vq'; known: raw_pixels, siglip2, dinov2"),
        ({"kind": ["siglip2"]}, "unknown encoder"),
        ({"kind": "siglip2", "network": 1}, "siglip2 has no network"),
        ({"kind": "siglip2", "networks": 1}, "siglip2 has no networks"),
        ({"kind": "siglip2", "channels": "1152"}, "channels must be"),
        ({"kind": "siglip2", "weights": None}, "weights must be"),
        ({"kind": "siglip2", "weights": {"source": 3}}, "source of weights"),
        ({"kind": "siglip2", "weights": {"place": "x"}}, "place"),
        ({"kind": "siglip2", "picture_size": 225}, "not a multiple of"),
        ({"kind": "sd_vae", "picture_size": 250}, "not a multiple of 16"),
        ({"kind": "dual", "understanding": {"kind": "siglip2"}}, "generating"),
        ({"kind": "dual", "understanding": 1, "generating": {"kind": "sd_vae"}}, "understanding"),
        ({"kind": "dual", "understanding": {"kind": "dual"}}, "single encoder"),
        (
            {
                "kind": "dual",
                "understanding": {"kind": "siglip2"},
                "generating": {"kind": "sd_vae", "picture_size": 128},
            },
            "siglip2 gives 16² and sd_vae 8²",
        ),
    ],
)
def test_a_description_that_cannot_work_is_refused_by_name(values, named):
    with pytest.raises(ValueError, match=named):
        encoder_from_json(values)


def test_a_file_that_lacks_weights_is_refused(root, tmp_path):
    for name, missing in (("dinov2", "layernorm.bias"), ("decoder", "decoder_norm.bias")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes((root / name / "config.json").read_bytes())
        tensors = load_file(root / name / "model.safetensors")
        del tensors[missing]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="weights are missing"):
        load(tmp_path, "dinov2")
    with pytest.raises(ValueError, match="Missing key"):
        load(root, "webssl", decoder=str(tmp_path / "decoder"))
    (tmp_path / "dinov2" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="Dinov2Model cannot read it"):
        load(tmp_path, "dinov2")


def test_a_dual_encoder_generates_with_one_and_reads_with_the_other(root):
    understanding = described(root, "siglip2", decoder=None)
    dual = Dual(understanding=understanding, generating=described(root, "sd_vae"))
    assert (dual.channels, dual.understanding_channels, dual.tokens) == (16, 32, 256)
    assert encoder_from_json(dual.to_json()) == dual
    loaded = dual.load(device=CPU, dtype=torch.float32)
    oblong = torch.randint(0, 256, (300, 400, 3), dtype=torch.uint8)
    read = loaded.reader.encode(loaded.reader.fit(oblong)[None])
    made = loaded.encode(loaded.fit(oblong)[None])
    assert (read.shape, made.shape) == ((1, 256, 32), (1, 256, 16))
    seen = reread(loaded)
    picture = loaded.decode(made)[0]
    expected = loaded.reader.encode(loaded.reader.fit(picture)[None])
    torch.testing.assert_close(seen(made), expected)
    assert reread(load(root, "siglip2")) is None
    blind = replace(dual, generating=understanding, understanding=described(root, "dinov2"))
    assert reread(blind) is None


@pytest.mark.parametrize("case", ["siglip2", "dinov2, RAE", "webssl", "flux_vae"])
def test_a_network_in_bfloat16_gives_latents_in_float32_near_the_exact_ones(root, case):
    exact = load(root, case)
    rough = described(root, case).load(device=CPU, dtype=torch.bfloat16)
    assert rough.to_json() == exact.to_json()
    shown = pictures(exact, count=1)
    latents = rough.encode(shown)
    assert latents.dtype == torch.float32
    error = (latents - exact.encode(shown)).square().mean().sqrt()
    assert 0 < error < 0.05 * exact.encode(shown).std()
    assert rough.decode(latents).shape == exact.decode(latents).shape


def test_a_size_that_config_json_leaves_to_its_class_is_checked_all_the_same(root, tmp_path):
    folder = tmp_path / "siglip"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((root / "siglip" / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["vision_config"]["patch_size"]  # the class's is 16
    (folder / "config.json").write_text(json.dumps(config))
    encoder = described(tmp_path, "siglip2", decoder=None)
    encoder.check()
    with pytest.raises(ValueError, match=r"patch_size|cannot read"):
        encoder.load(device=CPU, dtype=torch.float32)
