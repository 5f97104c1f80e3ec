"""The paper's models and the demo, by name: every size in one place.

All of the paper's share one transformer (§2.2, E.7) on LLaMA-3's vocabulary and the latents of
SigLIP 2 So400m, the default encoder. Rows of its ablations that are not named here are a change of
one field, as in `replace(preset("moe-e256").config, shared_experts="modality")` for Table 2.

What the paper leaves open: its head dimension, its vocabulary's size, that embedding and text head
are not tied, and 8192 for "FFN expansion multiplier 1.5" (2/3 · 4 · 2048 · 1.5) follow from its
parameter counts; the base of the rotary angles is LLaMA-3's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An architecture with a name.

    `encoder` is the kind of the frozen encoder whose latents the model takes; `source` says where
    the paper describes the model, and what is decided here where it is silent.
    """

    name: str
    config: ModelConfig
    encoder: str
    source: str


_TRANSFORMER: dict[str, Any] = {
    "vocab_size": 128_256,
    "dim": 2048,
    "num_layers": 16,
    "num_heads": 32,
    "num_kv_heads": 8,
    "head_dim": 64,
    "max_length": 4096,
    "rope_theta": 500_000.0,
    "latent_channels": 1152,
    "latent_grid": 16,
}


def _ffn(kind: str, **more: Any) -> dict[str, Any]:
    return {"feed_forward": kind, "hidden_dim": 8192, "prediction": "v", **more}


def _moe(*, experts: int, top_k: int, width: int) -> dict[str, Any]:
    return {
        "feed_forward": "moe",
        "num_experts": experts,
        "top_k": top_k,
        "expert_dim": width,
        "prediction": "x",
    }


_DENSE = "§2.2, appendix C: one FFN for all tokens, v-pred; the dense baseline of Table 5"
_DEFAULT = "§2.2, the default model: one FFN for text and one for pictures, v-pred"
_MOT = "§6.3, v-pred; the paper is silent on sizes, these are those of the default model"
_SPARSITY = (
    "§6.1 Sparsity, E.7, Table 5: G = 16, none shared; the paper is silent on the target, this is "
    "x-pred, which it finds better with SigLIP 2"
)
_GRANULARITY = "§6.1 Granularity, none shared; of the two targets tried, the better one, x-pred"
_FINEST = f"{_GRANULARITY}; 1008 experts for the 1024 of G = 64, as in the paper"

# Name → what it adds to the transformer, and where it comes from. The granularity of experts is
# G = 4 · dim / width (eq. 4).
_PAPER = {
    "dense-1.5b": (_ffn("shared"), _DENSE),
    "modality-2.3b": (_ffn("modality"), _DEFAULT),
    "mot": (_ffn("modality", attention="modality"), _MOT),
    "moe-e32": (_moe(experts=32, top_k=16, width=512), _SPARSITY),
    "moe-e64": (_moe(experts=64, top_k=16, width=512), _SPARSITY),
    "moe-e128": (_moe(experts=128, top_k=16, width=512), _SPARSITY),
    "moe-e256": (_moe(experts=256, top_k=16, width=512), _SPARSITY),
    "moe-e512": (_moe(experts=512, top_k=16, width=512), _SPARSITY),
    "moe-e1008": (_moe(experts=1008, top_k=16, width=512), _SPARSITY),
    "moe-g1": (_moe(experts=16, top_k=1, width=8192), _GRANULARITY),
    "moe-g4": (_moe(experts=64, top_k=4, width=2048), _GRANULARITY),
    "moe-g16": (_moe(experts=256, top_k=16, width=512), _GRANULARITY),
    "moe-g32": (_moe(experts=512, top_k=32, width=256), _GRANULARITY),
    "moe-g64": (_moe(experts=1008, top_k=64, width=128), _FINEST),
}
_DEMO = Path(__file__).parent / "demo"
PRESET_NAMES = (*_PAPER, "demo")


def preset(name: str) -> Preset:
    """Raises ValueError, listing the names, for an unknown one."""
    if name == "demo":
        # The demo is whatever the shipped checkpoint is.
        config = json.loads((_DEMO / "config.json").read_text(encoding="utf-8"))["model"]
        encoder = json.loads((_DEMO / "encoder.json").read_text(encoding="utf-8"))["kind"]
        source = "the checkpoint in model/demo, trained by train/recipes/demo.yaml"
        return Preset(
            name=name, config=ModelConfig.from_json(config), encoder=encoder, source=source
        )
    if name not in _PAPER:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESET_NAMES)}")
    fields, source = _PAPER[name]
    return Preset(
        name=name,
        config=ModelConfig(**_TRANSFORMER, **fields),
        encoder="siglip2",
        source=source,
    )
