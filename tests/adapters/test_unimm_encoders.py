"""Checkpoints whose encoder has weights of others: judged, or refused before anything is loaded."""

import shutil
from dataclasses import replace

import frozen
import numpy as np
import pytest
import torch
from checkpoints import TINY

from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import (
    ChatRequest,
    DenoiseRequest,
    ImageRequest,
    Picture,
    UserError,
)
from unimm_eval.model.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from unimm_eval.model.encoders import encoder_from_json
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

CPU = torch.device("cpu")
PICTURES = {"latent_grid": 16, "max_length": 1024}
ENCODERS = {
    "sd_vae": ({"kind": "sd_vae", "weights": "sd_vae"}, {"latent_channels": 16}),
    "dual": (
        {
            "kind": "dual",
            "understanding": {
                "kind": "siglip2",
                "weights": "siglip",
                "decoder": None,
                "channels": 32,
            },
            "generating": {"kind": "sd_vae", "weights": "sd_vae"},
        },
        {"latent_channels": 16, "understanding_channels": 32},
    ),
    "without decoder": (
        {"kind": "dinov2", "weights": "dinov2", "decoder": None, "channels": 32},
        {"latent_channels": 32},
    ),
}


def placed(values, root):
    """The description with the sources of weights below `root`."""
    return {
        name: placed(value, root)
        if isinstance(value, dict)
        else str(root / value)
        if name == "weights"
        else value
        for name, value in values.items()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint of each encoder, and the weights that they need."""
    pytest.importorskip("diffusers")
    root = tmp_path_factory.mktemp("models")
    frozen.kl_vae(4).save_pretrained(root / "weights" / "sd_vae")
    frozen.siglip_vision().save_pretrained(root / "weights" / "siglip")
    frozen.dinov2().save_pretrained(root / "weights" / "dinov2")
    texts = ["a red square", "what color is the ring?", "yes"]
    words = Tokenizer.train(iter(texts), vocab_size=TINY.vocab_size)
    config = replace(TINY, **PICTURES, vocab_size=words.vocab_size)
    for name, (values, widths) in ENCODERS.items():
        model = UnifiedModel(replace(config, **widths)).initialise(seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(std=0.1, generator=generator)
        save_checkpoint(
            root / name,
            model=model,
            tokenizer=words,
            encoder=encoder_from_json(placed(values, root / "weights")).load(
                device=CPU, dtype=torch.float32
            ),
            training={},
            dtype=torch.float32,
        )
    return root


def picture(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Picture(array=pixels)


def load(folder):
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


@pytest.mark.parametrize("name", ["sd_vae", "dual"])
def test_pictures_are_made_asked_about_and_denoised(root, name):
    model = load(root / name)
    request = {"sample_id": "s", "repeat": 0, "seed": 5}
    image = ImageRequest(
        **request, prompt="a red square", key="0", guidance_scale=3.0, num_inference_steps=2
    )
    made = model.generate_images([image])[0]
    assert (made.shape, made.dtype) == ((256, 256, 3), np.uint8)
    assert np.array_equal(model.generate_images([image])[0], made)

    def asked(seed):
        return ChatRequest(**request, parts=(picture(seed), "what color?"), max_new_tokens=4)

    answers = model.generate_text([asked(1), asked(2)])
    assert answers == [model.generate_text([asked(seed)])[0] for seed in (1, 2)]
    shown = [model._clean(picture(seed)) for seed in (1, 2)]
    reader = encoder_from_json(model.describe()["encoder"]).reader
    assert shown[0].latents.shape == (256, reader.channels)
    assert shown[0].understanding == (name == "dual")
    assert not np.array_equal(shown[0].latents, shown[1].latents)

    denoise = DenoiseRequest(**request, picture=picture(3), caption="a ring", u=0.5)
    loss = model.flow_losses([denoise])[0]
    assert np.isfinite([loss.loss, loss.blank]).all()
    assert model._denoise_documents([denoise])[0][1].latents.shape == (256, 16)


def test_a_dual_encoder_s_frame_is_read_again_once_it_is_made(root):
    model = load(root / "dual")
    context = model.open_context([picture(1)])
    frames = context.rollout([["left", "right"]], seeds=[1], keep="all", num_inference_steps=2)
    assert frames.shape == (1, 2, 256, 256, 3)
    seen = model._model.reread(torch.zeros(1, 256, 16))
    assert seen.shape == (1, 256, 32)


def test_without_a_decoder_nothing_that_draws_is_offered(root):
    able = UnimmCheckpoint.capabilities_for(str(root / "without decoder"))
    assert "GeneratesImages" not in able
    assert "PredictsFrames" not in able
    assert {"ScoresText", "GeneratesText", "DenoisesImages"} <= able
    assert "GeneratesImages" in UnimmCheckpoint.capabilities_for(str(root / "sd_vae"))


def test_missing_or_other_weights_are_told_before_the_model_is_loaded(root, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(root / "weights" / "sd_vae", tmp_path / "weights")
    shutil.copytree(root / "dual", folder)
    path = folder / "encoder.json"
    text = path.read_text().replace(str(root / "weights" / "sd_vae"), str(tmp_path / "weights"))
    path.write_text(text)
    assert "GeneratesImages" in UnimmCheckpoint.capabilities_for(str(folder))

    frozen.kl_vae(4).save_pretrained(tmp_path / "weights")
    with pytest.raises(UserError, match="other weights than the ones"):
        load(folder)
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(UserError, match=r"encoder: The weights .* are not here\.") as caught:
        UnimmCheckpoint.capabilities_for(str(folder))
    assert "config.json" in caught.value.fix
    path.write_text(text.replace(str(tmp_path / "weights"), "somebody/vae"))
    with pytest.raises(UserError, match="not here") as caught:
        UnimmCheckpoint.capabilities_for(str(folder))
    assert "hf download somebody/vae" in caught.value.fix


def test_an_encoder_of_another_width_is_refused_by_name(root, tmp_path):
    for source, target, named in (
        ("sd_vae", "without decoder", "16² tokens of 16 channels, the model takes 16² of 32"),
        ("sd_vae", "dual", "understanding_channels"),
        ("dual", "sd_vae", "32 channels to understand, the model takes 0"),
    ):
        folder = tmp_path / f"{source} in {target}"
        shutil.copytree(root / target, folder)
        shutil.copy(root / source / "encoder.json", folder / "encoder.json")
        with pytest.raises(CheckpointError, match=named):
            read_checkpoint(folder)
