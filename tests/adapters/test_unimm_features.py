"""Layers of our checkpoints: what each block writes at the tokens of a picture."""

from dataclasses import replace

import frozen
import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint

from unimm_eval.adapters import unimm
from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import Picture, PictureError, capabilities_of
from unimm_eval.model.checkpoint import Checkpoint
from unimm_eval.model.encoders import RawPixels, encoder_from_json
from unimm_eval.model.sequence import interleaved, prompt_document

SIZES = ((32, 32), (40, 64), (7, 9))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load(tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


def load(folder):
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


def noise(height, width, seed=0):
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture(array=array)


@pytest.fixture(scope="module")
def pictures():
    return [noise(*size, seed=seed) for seed, size in enumerate(SIZES)]


def test_every_layer_is_there_as_means_and_as_tokens(model, pictures):
    tokens = model.features(pictures, pool="tokens")
    means = model.features(pictures, pool="mean")
    raw = RawPixels()
    assert tokens.stacks["encoder"].shape == (3, 1, 16, raw.channels)
    assert tokens.stacks["backbone"].shape == (3, TINY.num_layers, 16, TINY.dim)
    for name, found in tokens.stacks.items():
        assert found.dtype == np.float32
        np.testing.assert_allclose(means.stacks[name], found.mean(axis=2), atol=1e-5)
    np.testing.assert_array_equal(tokens.pixels, means.pixels)
    np.testing.assert_array_equal(tokens.pixels[0], pictures[0].load())
    encoded = raw.encode(torch.from_numpy(tokens.pixels)).numpy()
    np.testing.assert_array_equal(tokens.stacks["encoder"][:, 0], encoded)


def test_the_last_layer_is_what_the_final_norm_is_given(model, pictures):
    """Seen from outside: the hidden states at the picture of a caption's document."""
    tokens = model.features(pictures[:1], pool="tokens").stacks["backbone"]
    seen = []
    norm = model._model.backbone.norm
    hook = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        shown = model._clean(pictures[0])
        parts = interleaved(model._tokenizer, [shown, "and what comes behind it"])
        batch = model._pack([prompt_document(parts)])
        with torch.inference_mode():
            model._model.hidden(batch, batch.latents_ITC)
    finally:
        hook.remove()
    (found,) = seen
    expected = found.flatten(0, 1)[batch.index_IT[0]].numpy()
    np.testing.assert_allclose(tokens[0, -1], expected, rtol=1e-4, atol=1e-5)


def test_a_dense_checkpoint_has_layers_and_a_twin(tmp_path, pictures):
    config = replace(TINY, feed_forward="modality", hidden_dim=32)
    dense = load(tiny_checkpoint(tmp_path / "dense", config=config))
    assert {"ExposesFeatures", "HasTwin"} <= capabilities_of(dense)
    twin = dense.twin()
    assert twin is dense.twin() is twin.twin()
    assert twin.fingerprint != dense.fingerprint
    mine, its = (each.features(pictures, pool="mean").stacks for each in (dense, twin))
    np.testing.assert_array_equal(mine["encoder"], its["encoder"])
    assert not np.allclose(mine["backbone"], its["backbone"], atol=1e-2)


def test_a_picture_that_cannot_be_looked_at_is_named(model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"broken\.png"):
        model.features([Picture(path=broken)], pool="mean")


@pytest.mark.parametrize(
    ("kind", "make"), [("siglip2", frozen.siglip_vision), ("dinov2", frozen.dinov2)]
)
def test_layers_of_a_vision_transformer(tmp_path, kind, make):
    network = make()
    network.save_pretrained(tmp_path / kind)
    weights = str(tmp_path / kind)
    values = {"kind": kind, "weights": weights, "decoder": None, "channels": 32}
    encoder = encoder_from_json(values).load(device=torch.device("cpu"), dtype=torch.float32)
    pixels = torch.from_numpy(np.stack([noise(224, 224, seed=seed).load() for seed in range(2)]))
    layers = encoder.layers(pixels)
    assert len(layers) == network.config.num_hidden_layers
    torch.testing.assert_close(layers[-1], encoder.encode(pixels))
    seen = []
    blocks = [
        module
        for name, module in encoder.networks.transformer.named_modules()
        if name.rpartition(".")[0].endswith(("layer", "layers"))
    ]
    assert len(blocks) == len(layers)
    hook = blocks[0].register_forward_hook(
        lambda module, inputs, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    encoder.encode(pixels)
    hook.remove()
    torch.testing.assert_close(layers[0], seen[0][:, encoder.networks.skipped :])


def test_how_many_go_at_once_changes_nothing(model, pictures, monkeypatch):
    monkeypatch.setattr(unimm, "PASS_TOKENS", 1)
    parts = Checkpoint(files=model._files, model=model._model, tokenizer=model._tokenizer)
    one_by_one = UnimmCheckpoint(parts, name="small passes")
    expected = model.features(pictures, pool="tokens").stacks["backbone"]
    found = one_by_one.features(pictures, pool="tokens").stacks["backbone"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
