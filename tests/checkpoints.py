"""Tiny real checkpoints: the demo's shape in small, every weight random, the heads too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from unimm_eval.model.checkpoint import file_sha256, save_checkpoint
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.encoders import RawPixels
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.world import rng_for, sample_document

TINY = ModelConfig(
    vocab_size=320,
    dim=32,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=16,
    max_length=256,
    feed_forward="moe",
    num_experts=6,
    top_k=3,
    expert_dim=16,
    shared_experts="modality",
    time_dim=16,
)


def tiny_checkpoint(folder: Path, *, seed: int = 0, config: ModelConfig = TINY) -> Path:
    """Write a checkpoint whose answers vary: nothing is hidden behind the zeros of a new head."""
    model = UnifiedModel(config).initialise(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.2, generator=generator)
            elif name.endswith("bias"):
                weight.normal_(std=0.05, generator=generator)
    save_checkpoint(
        folder,
        model=model,
        tokenizer=Tokenizer.train(_texts(), vocab_size=TINY.vocab_size),
        encoder=RawPixels(),
        training={"step": 0, "seed": seed},
        dtype=torch.float32,
    )
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Change `config.json`; a dictionary changes the entry of that name key by key."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(config))


def accept_weights(folder: Path) -> None:
    """Let `config.json` vouch for the weights as they are."""
    edit_config(folder, weights_sha256=file_sha256(folder / "model.safetensors"))


def _texts() -> Iterator[str]:
    for index in range(50):
        rng = rng_for(split="train", purpose="tiny tokenizer", index=index)
        yield sample_document(rng, split="train").text
