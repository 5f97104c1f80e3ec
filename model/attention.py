"""Grouped-query attention and the key-value cache.

Shapes: B rows, S queries, K keys, H query heads, G key-value heads, E head dimension, D model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.masks import Mask
from unimm_eval.model.modality import Modalities, apply, build


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
    only after `advance`, so a picture can be rewritten at every denoising step. What rows that go
    along unread write behind the capacity lands in a place that nothing reads.
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
        shape = (config.num_layers, rows, config.num_kv_heads, capacity + 1, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.lengths_B = torch.zeros(rows, device=device, dtype=torch.long)
        self.config, self.capacity = config, capacity

    def write(
        self, layer: int, k_BGSE: Tensor, v_BGSE: Tensor, index_BS: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values at `index_BS`; returns the first `width` of all of them."""
        index = index_BS.clamp(max=self.capacity)[:, None, :, None].expand_as(k_BGSE)
        self.keys[layer].scatter_(2, index, k_BGSE)
        self.values[layer].scatter_(2, index, v_BGSE)
        return self.keys[layer, :, :, :width], self.values[layer, :, :, :width]

    def check_room(self, tokens_B: Tensor | int) -> None:
        """Raises ValueError when `tokens_B` more tokens of each row do not fit."""
        if (longest := int((self.lengths_B + tokens_B).max())) > self.capacity:
            raise _does_not_fit(longest, self.capacity)

    def advance(self, tokens_B: Tensor | int) -> None:
        """Let `tokens_B` more tokens of each row stand. Raises ValueError when they do not fit."""
        self.check_room(tokens_B)
        self.lengths_B = self.lengths_B + tokens_B

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    @classmethod
    def gather(cls, picked: Sequence[tuple["KVCache", int]], *, capacity: int) -> "KVCache":
        """Copies of (cache, row) pairs of one model, which may repeat, with room for `capacity`
        tokens each: shares prefixes among continuations."""
        first = picked[0][0]
        made = cls(
            first.config,
            rows=len(picked),
            capacity=capacity,
            device=first.keys.device,
            dtype=first.keys.dtype,
        )
        places: dict[int, list[int]] = {}
        for place, (source, _) in enumerate(picked):
            places.setdefault(id(source), []).append(place)
        for into in places.values():
            source = picked[into[0]][0]
            rows = torch.tensor([picked[place][1] for place in into], device=made.keys.device)
            kept = min(capacity, source.capacity)
            made.keys[:, into, :, :kept] = source.keys[:, rows, :, :kept]
            made.values[:, into, :, :kept] = source.values[:, rows, :, :kept]
            made.lengths_B[into] = source.lengths_B[rows]
        made.check_room(0)
        return made


def _does_not_fit(tokens: int, capacity: int) -> ValueError:
    return ValueError(f"{tokens} tokens do not fit a cache with a capacity of {capacity}")


@dataclass(frozen=True, kw_only=True)
class AttentionContext:
    """What every layer's attention shares in one forward pass.

    `cache` with `index_BS` (where the new tokens go) and `width` (keys in use) decodes; without it
    the tokens attend to one another. Raises ValueError when the cache has no room for `width`.
    """

    rotary: Tensor
    mask: Mask
    cache: KVCache | None = None
    index_BS: Tensor | None = None
    width: int = 0

    def __post_init__(self) -> None:
        if self.cache is not None and self.width > self.cache.capacity:
            raise _does_not_fit(self.width, self.cache.capacity)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, no biases.

    With config.attention="modality" the projections are of each modality's own and attention is
    over all tokens, as in the Mixture-of-Transformers (Liang et al. 2024).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim

        def projection(width_in: int, width_out: int) -> nn.Module:
            return build(config.attention, lambda: nn.Linear(width_in, width_out, bias=False))

        query_dim = config.num_heads * config.head_dim
        key_dim = config.num_kv_heads * config.head_dim
        self.query = projection(config.dim, query_dim)
        self.key = projection(config.dim, key_dim)
        self.value = projection(config.dim, key_dim)
        self.output = projection(query_dim, config.dim)

    def forward(
        self, x_BSD: Tensor, context: AttentionContext, modalities: Modalities, layer: int
    ) -> Tensor:
        def heads(projection: nn.Module) -> Tensor:
            x_BSX = apply(projection, x_BSD, modalities)
            return x_BSX.unflatten(2, (-1, self.head_dim)).transpose(1, 2)

        q_BHSE = rotate(heads(self.query), context.rotary)
        k_BGSE = rotate(heads(self.key), context.rotary)
        v_BGSE = heads(self.value)
        if context.cache is not None:
            assert context.index_BS is not None
            k_BGSE, v_BGSE = context.cache.write(
                layer, k_BGSE, v_BGSE, context.index_BS, context.width
            )
        y_BHSE = context.mask.attend(q_BHSE, k_BGSE, v_BGSE)
        return apply(self.output, y_BHSE.transpose(1, 2).flatten(2), modalities)
