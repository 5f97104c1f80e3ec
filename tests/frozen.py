"""Tiny checkpoints of the classes that frozen encoders are published in, every weight random."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

GENERATOR = torch.Generator().manual_seed(0)


def randomised(module):
    """All weights random, those of norms too, so that none of them can be left out unseen."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.15, generator=GENERATOR)
            else:
                weight.normal_(
                    mean=1.0 if "norm" in name and name.endswith("weight") else 0.0,
                    std=0.1,
                    generator=GENERATOR,
                )
    return module.eval()


VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}


def siglip_model():
    from transformers import SiglipConfig, SiglipModel

    vision = {**VIT, "intermediate_size": 48, "image_size": 224}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
    text["intermediate_size"] = 16
    return randomised(SiglipModel(SiglipConfig(vision_config=vision, text_config=text)))


def siglip_vision():
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return randomised(
        SiglipVisionModel(SiglipVisionConfig(**VIT, intermediate_size=48, image_size=224))
    )


def dinov2():
    from transformers import Dinov2Config, Dinov2Model

    return randomised(Dinov2Model(Dinov2Config(**VIT, mlp_ratio=2, image_size=518)))


def dinov2_with_registers():
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(**VIT, mlp_ratio=2, image_size=518)
    return randomised(Dinov2WithRegistersModel(config))


DECODER = {
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 40,
}


def rae(*, statistics=True):
    from diffusers import AutoencoderRAE

    shape = (64, 16, 16)
    mean = torch.randn(shape, generator=GENERATOR) if statistics else None
    std = 0.5 + torch.rand(shape, generator=GENERATOR) if statistics else None
    return randomised(
        AutoencoderRAE(
            encoder_type="dinov2",
            encoder_hidden_size=64,
            encoder_patch_size=14,
            encoder_num_hidden_layers=1,
            encoder_input_size=224,
            patch_size=16,
            latents_mean=mean,
            latents_std=std,
            **DECODER,
        )
    )


def kl_vae(channels):
    from diffusers import AutoencoderKL

    return randomised(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4),
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=channels,
            scaling_factor=0.18215 if channels == 4 else 0.3611,
            shift_factor=None if channels == 4 else 0.1159,
        )
    )


PUBLISHED_NAMES = {
    "attention.to_q": "attention.attention.query",
    "attention.to_k": "attention.attention.key",
    "attention.to_v": "attention.attention.value",
    "attention.to_out.0": "attention.output.dense",
}


def published_decoder(folder: Path, *, channels: int = 32, statistics=None):
    """Write a decoder as Scale-RAE publishes it, but as safetensors; returns diffusers' network
    with the same weights."""
    from diffusers.models.autoencoders.autoencoder_rae import RAEDecoder

    sizes = {"num_patches": 256, "patch_size": 16, "image_size": 256}
    network = randomised(RAEDecoder(hidden_size=channels, **DECODER, **sizes))
    tensors = {"decoder_pos_embed": network.decoder_pos_embed}
    for name, tensor in network.state_dict().items():
        for ours, published in PUBLISHED_NAMES.items():
            name = name.replace(ours, published)
        tensors[name] = tensor
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {**DECODER, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "patch_size": "any"}
    (folder / "config.json").write_text(json.dumps(config))
    if statistics is not None:
        save_file(statistics, folder / "statistics.safetensors")
    return network
