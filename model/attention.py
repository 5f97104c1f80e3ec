"""The hybrid mask, grouped-query attention and the key-value cache.

Shapes: B rows, S queries, K keys, H query heads, G key-value heads, E head dimension, D model.

One definition of the mask serves every path (paper §2.1, appendix B). A query at index q of a row
sees the keys of an interval: from the first token of its own document to itself, or to the last
token of its own picture, whose tokens see each other in both directions. So a mask is two integers
a query.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm_eval.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Visible:
    """Keys that each query sees: `first_BS` to `last_BS`, both inclusive, as key indices."""

    first_BS: Tensor
    last_BS: Tensor

    def dense(self, num_keys: int) -> Tensor:
        """bool [B, 1, S, K] for scaled_dot_product_attention."""
        key_K = torch.arange(num_keys, device=self.first_BS.device)
        mask_BSK = (key_K >= self.first_BS[..., None]) & (key_K <= self.last_BS[..., None])
        return mask_BSK[:, None]


def rotary_table(positions_BS: Tensor, *, head_dim: int, theta: float) -> Tensor:
    """Angles of rotary position embedding as fp32 [2 (cos, sin), B, 1, S, E/2]."""
    exponent = torch.arange(0, head_dim, 2, device=positions_BS.device, dtype=torch.float32)
    angle_BSE = positions_BS[..., None].float() * theta ** (-exponent / head_dim)
    return torch.stack((angle_BSE.cos(), angle_BSE.sin()))[:, :, None]


def rotate(x_BHSE: Tensor, table: Tensor) -> Tensor:
    """Rotate pairs (i, i + E/2) of each head by the angles of `table`."""
    cos, sin = table.to(x_BHSE.dtype)
    a, b = x_BHSE.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class KVCache:
    """Preallocated keys and values of `rows` sequences of up to `capacity` tokens.

    `lengths_B` is how many tokens of each row stand. New tokens are written behind them and count
    only after `advance`, so a picture can be rewritten at every denoising step.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        rows: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if capacity > config.max_length:
            raise ValueError(
                f"{capacity} tokens do not fit the model's max_length of {config.max_length}"
            )
        shape = (config.num_layers, rows, config.num_kv_heads, capacity, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths_B = torch.zeros(rows, device=device, dtype=torch.long)
        self.capacity = capacity

    def write(
        self, layer: int, k_BGSE: Tensor, v_BGSE: Tensor, index_BS: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values at `index_BS`; returns the first `width` of all of them."""
        index = index_BS[:, None, :, None].expand_as(k_BGSE)
        self.keys[layer].scatter_(2, index, k_BGSE)
        self.values[layer].scatter_(2, index, v_BGSE)
        return self.keys[layer, :, :, :width], self.values[layer, :, :, :width]

    def advance(self, tokens_B: Tensor | int) -> None:
        """Let `tokens_B` more tokens of each row stand."""
        self.lengths_B += tokens_B

    def select(self, rows: Tensor) -> "KVCache":
        """A copy that holds only `rows` (they may repeat): shares a prefix among continuations."""
        other = object.__new__(KVCache)
        other.keys, other.values = self.keys[:, rows], self.values[:, rows]
        other.lengths_B, other.capacity = self.lengths_B[rows], self.capacity
        return other


@dataclass(frozen=True, kw_only=True)
class AttentionContext:
    """What every layer's attention shares in one forward pass.

    `cache` with `index_BS` (where the new tokens go) and `width` (keys in use) decodes; without it
    the tokens attend to one another.
    """

    rotary: Tensor
    mask: Tensor
    cache: KVCache | None = None
    index_BS: Tensor | None = None
    width: int = 0


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, no biases."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        query_dim = config.num_heads * config.head_dim
        self.query = nn.Linear(config.dim, query_dim, bias=False)
        self.key = nn.Linear(config.dim, config.num_kv_heads * config.head_dim, bias=False)
        self.value = nn.Linear(config.dim, config.num_kv_heads * config.head_dim, bias=False)
        self.output = nn.Linear(query_dim, config.dim, bias=False)

    def forward(self, x_BSD: Tensor, context: AttentionContext, layer: int) -> Tensor:
        heads = (*x_BSD.shape[:2], -1, self.head_dim)
        q_BHSE = rotate(self.query(x_BSD).view(heads).transpose(1, 2), context.rotary)
        k_BGSE = rotate(self.key(x_BSD).view(heads).transpose(1, 2), context.rotary)
        v_BGSE = self.value(x_BSD).view(heads).transpose(1, 2)
        if context.cache is not None:
            assert context.index_BS is not None
            k_BGSE, v_BGSE = context.cache.write(
                layer, k_BGSE, v_BGSE, context.index_BS, context.width
            )
        group = self.num_heads // self.num_kv_heads
        y_BHSE = F.scaled_dot_product_attention(
            q_BHSE,
            k_BGSE.repeat_interleave(group, dim=1),
            v_BGSE.repeat_interleave(group, dim=1),
            attn_mask=context.mask,
        )
        return self.output(y_BHSE.transpose(1, 2).flatten(2))
