"""Tiny models with random weights that every path can be compared on."""

from dataclasses import replace

import numpy as np
import torch

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.sequence import Batch, Document, PictureSegment, pack
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

MOE = ModelConfig(
    vocab_size=300,
    dim=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_length=128,
    feed_forward="moe",
    num_experts=6,
    top_k=3,
    expert_dim=16,
    shared_experts="modality",
    latent_channels=12,
    latent_grid=2,
)
VARIANTS = {
    "moe, per-modality shared": MOE,
    "moe, global shared": replace(MOE, shared_experts="global"),
    "moe, none shared": replace(MOE, shared_experts="none"),
    "per-modality": replace(MOE, feed_forward="modality", hidden_dim=32),
    "shared": replace(MOE, feed_forward="shared", hidden_dim=32),
    "v-pred": replace(MOE, prediction="v"),
    "mixture of transformers": replace(
        MOE, attention="modality", feed_forward="modality", hidden_dim=32
    ),
    "per-modality attention, moe": replace(MOE, attention="modality"),
    "dual encoder": replace(MOE, understanding_channels=20),
}


def tokenizer() -> Tokenizer:
    words = ["a red circle", "a ring left of a moon", "what color is the bar?", "yes", "no"]
    return Tokenizer.train(iter(words), vocab_size=300)


def tiny_model(config: ModelConfig = MOE, *, seed: int = 0) -> UnifiedModel:
    """All weights random, the heads too, so that no path is hidden behind zeros."""
    model = UnifiedModel(config).initialise(seed=seed).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            weight.normal_(std=0.2, generator=generator)
        elif name.endswith("bias"):
            weight.normal_(std=0.05, generator=generator)
        else:  # norms
            weight.uniform_(0.8, 1.2, generator=generator)
    if config.understanding_channels:
        model.reread = lambda latents: latents  # pictures of tests are what the reader sees
    return model


def picture(
    config: ModelConfig, *, seed: int, t: float = 1.0, flow: bool = False
) -> PictureSegment:
    """A clean one is to be understood where the model has a space for that."""
    rng = np.random.default_rng(seed)
    if config.understanding_channels and t == 1 and not flow:
        shape = (config.latent_tokens, config.understanding_channels)
        latents = rng.standard_normal(shape, dtype=np.float32)
        return PictureSegment(latents=latents, understanding=True)
    shape = (config.latent_tokens, config.latent_channels)
    return PictureSegment(
        latents=rng.standard_normal(shape, dtype=np.float32),
        t=t,
        noise=rng.standard_normal(shape, dtype=np.float32),
        flow=flow,
    )


def batch_of(config: ModelConfig, rows: list[list[Document]], *, length: int) -> Batch:
    return pack(
        rows,
        length=length,
        pad=0,
        grid_tokens=config.latent_tokens,
        channels=config.latent_channels,
        understanding_channels=config.understanding_channels,
    )
