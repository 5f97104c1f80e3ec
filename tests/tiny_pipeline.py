"""A tiny Stable Diffusion pipeline saved to disk: random weights of real classes."""

import json
from pathlib import Path

import diffusers
import torch
import transformers


def tiny_pipeline(folder: Path, *, seed: int = 0) -> Path:
    """Pictures of 32x32."""
    torch.manual_seed(seed)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    tokenizer = _tokenizer(folder / "words")
    text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    pipeline = diffusers.StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "pipeline", safe_serialization=True)
    return folder / "pipeline"


def _tokenizer(folder: Path) -> transformers.CLIPTokenizer:
    """Of single letters: any text is tokens."""
    folder.mkdir(parents=True)
    signs = [chr(code) for code in range(33, 127)]
    names = [*signs, *(f"{sign}</w>" for sign in signs), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({name: index for index, name in enumerate(names)}))
    merges = folder / "merges.txt"
    merges.write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=32)
