"""What a configuration costs, by arithmetic alone: parameters, FLOPs and memory, without torch.

Parameters are counted as they come out at the paper's numbers (§2.2, Table 5): the matrices of
embedding, attention, feed-forward layers, routers and text head. The gains of norms (0.005% of the
dense model), the projections of latents and the embedding of the time are counted apart.

FLOPs count matrix products, two a weight and token in the forward pass, four more in training, and
no recomputation. For a text token in a row of S tokens that is torchtitan's convention
(`models/utils.py`), 6 · active weights without the input embedding + 12 · L · H·E · S in training,
where attention has no causal discount; `keys` smaller than S gives what the mask leaves.

Letters: L layers, H query heads, G key-value heads, E head dimension, D model dimension.
"""

from dataclasses import dataclass
from typing import Literal

from unimm_eval.model.config import ModelConfig

Modality = Literal["text", "image"]


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of weights. `active` are those of `total` that one token uses, of text or of a
    picture alike; embedding and text head count for both, as in the paper."""

    total: int
    active: int
    norms: int
    visual_adapters: int
    time_embedding: int

    @property
    def everything(self) -> int:
        """All weights of a checkpoint."""
        return self.total + self.norms + self.visual_adapters + self.time_embedding


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes. `weights` in bf16 with routers in fp32; `optimizer` fp32 masters and AdamW's two
    moments; `cache_per_token` keys and values in bf16 of one token of one row."""

    weights: int
    optimizer: int
    cache_per_token: int


def count_parameters(config: ModelConfig) -> Parameters:
    """Exactly those of the built model."""
    dim, layers = config.dim, config.num_layers
    copies = 2 if config.attention == "modality" else 1
    experts = {"shared": 1, "modality": 2, "moe": config.num_experts}[config.feed_forward]
    ends = 2 * config.vocab_size * dim  # embedding and text head
    reader = (config.understanding_channels + 1) * dim if config.understanding_channels else 0
    attention, expert, router = _attention(config), _expert(config), _router(config)
    return Parameters(
        total=ends + layers * (copies * attention + experts * expert + router),
        active=ends + layers * (attention + _active_experts(config) * expert + router),
        norms=(2 * layers + 1) * copies * dim,  # two a block, and the final one
        visual_adapters=2 * config.latent_channels * dim + dim + config.latent_channels + reader,
        time_embedding=config.time_dim * dim + dim + dim * dim + dim,
    )


def flops_per_token(
    config: ModelConfig, *, keys: float, modality: Modality = "text", training: bool = True
) -> float:
    """FLOPs of one token that attends to `keys` keys, itself among them, on average over queries.

    `keys` = length of the row is the convention; `mean_visible_keys` what the mask leaves. A shared
    expert counts once: a token uses that of its modality alone. A text token passes the text head,
    a picture's token both projections of latents and its share of its picture's time embedding.
    """
    weights: float = config.num_layers * (
        _attention(config) + _active_experts(config) * _expert(config) + _router(config)
    )
    if modality == "text":
        weights += config.vocab_size * config.dim
    else:
        time = config.time_dim * config.dim + config.dim**2
        weights += 2 * config.latent_channels * config.dim + time / config.latent_tokens
    attention = 4 * config.num_layers * config.num_heads * config.head_dim * keys
    return (3 if training else 1) * (2 * weights + attention)


def mean_visible_keys(length: int, *, block: int = 1) -> float:
    """Keys that a token sees on average in a row of `length` tokens of one document, made of
    blocks that see themselves whole and what comes before: 1 token of text, or a whole picture."""
    return (length + block) / 2


def memory(config: ModelConfig) -> Memory:
    weights = count_parameters(config).everything
    return Memory(
        weights=2 * weights + 2 * config.num_layers * _router(config),
        optimizer=3 * 4 * weights,
        cache_per_token=2 * 2 * config.num_layers * config.num_kv_heads * config.head_dim,
    )


def _attention(config: ModelConfig) -> int:
    """Weights of the projections of one layer for one modality: query and output, key and value."""
    return config.dim * 2 * (config.num_heads + config.num_kv_heads) * config.head_dim


def _expert(config: ModelConfig) -> int:
    """Weights of one SwiGLU."""
    width = config.expert_dim if config.feed_forward == "moe" else config.hidden_dim
    return 3 * config.dim * width


def _active_experts(config: ModelConfig) -> int:
    return config.top_k if config.feed_forward == "moe" else 1


def _router(config: ModelConfig) -> int:
    return config.dim * config.num_routed if config.feed_forward == "moe" else 0
