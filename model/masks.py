"""The hybrid mask: which keys a query sees, and attention under it by either back end.

Shapes: B rows, S queries, K keys, H query heads, G key-value heads, E head dimension; I blocks of Q
queries, J blocks of keys.

One definition of the mask serves every path (paper §2.1, appendix B). A query at index q of a row
sees the keys of an interval: from the first token of its own document to itself, or to the last
token of its own picture, whose tokens see each other in both directions. So a mask is two integers
a query. Every query sees itself, padding too: no softmax is over nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

AttentionBackend = Literal["dense", "flex"]
"""How attention over packed rows is computed: `scaled_dot_product_attention` over all pairs,
or `flex_attention`, which skips the blocks of keys that no query of a block sees. Decoding from a
cache, a few queries at a time, is always dense."""

BLOCK = 128
"""Queries and keys of a block of flex attention: what its kernels take."""


def check_backend(
    backend: AttentionBackend, *, device: torch.device, head_dim: int, training: bool
) -> None:
    """Raises ValueError for a back end that cannot work here."""
    if backend not in get_args(AttentionBackend):
        raise ValueError(
            f"attention_backend must be one of {get_args(AttentionBackend)}, not {backend!r}"
        )
    if backend == "flex" and device.type == "cpu" and training:
        raise ValueError(
            "attention_backend='flex' cannot train on a CPU, where flex_attention has no backward "
            "pass: use attention_backend='dense'"
        )
    if backend == "flex" and device.type == "cuda" and head_dim < 16:
        raise ValueError(
            f"attention_backend='flex' needs a head_dim of at least 16 on a GPU, not {head_dim}: "
            "use attention_backend='dense'"
        )


@dataclass(frozen=True, kw_only=True)
class Visible:
    """Keys that each query sees: `first_BS` to `last_BS`, both inclusive, as key indices."""

    first_BS: Tensor
    last_BS: Tensor

    def dense(self, num_keys: int) -> Tensor:
        """All pairs, bool [B, 1, S, K]."""
        key_K = torch.arange(num_keys, device=self.first_BS.device)
        mask_BSK = (key_K >= self.first_BS[..., None]) & (key_K <= self.last_BS[..., None])
        return mask_BSK[:, None]

    def blocks(self, block_size: int = BLOCK) -> "BlockMask":
        """The mask of rows that attend to themselves (K = S), for flex_attention.

        Equal to what `create_block_mask` finds by looking at all S·K pairs. Since each query lies
        in its own interval, the intervals of neighbouring queries leave no gap between them: the
        keys that a block of queries sees reach from their least `first` to their greatest `last`,
        and the keys that all of them see from the greatest `first` to the least `last`. The lists
        for the backward pass are given, too: `from_kv_blocks` would take several times as long.
        """
        from torch.nn.attention.flex_attention import BlockMask

        rows, length = self.first_BS.shape
        padding = (0, -length % block_size)
        # Queries behind the row see nothing, so that no block with them is full.
        first_BS = F.pad(self.first_BS, padding, value=length).to(torch.int32)
        last_BS = F.pad(self.last_BS, padding, value=-1).to(torch.int32)
        intervals = (x_BS.view(rows, -1, 1, block_size) for x_BS in (first_BS, last_BS))
        (first_min, first_max), (last_min, last_max) = (x.aminmax(dim=3) for x in intervals)
        start_J = torch.arange(0, first_BS.shape[1], block_size, device=first_BS.device)
        end_J = start_J + block_size - 1
        seen_BIJ = (end_J >= first_min) & (start_J <= last_max)
        full_BIJ = (start_J >= first_max) & (end_J <= last_min)

        def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (k >= first_BS[b, q]) & (k <= last_BS[b, q])

        parts = {"": seen_BIJ & ~full_BIJ, "full_": full_BIJ}
        lists: dict[str, Any] = {}
        for part, blocks_BIJ in parts.items():
            for axis, blocks in (("kv", blocks_BIJ), ("q", blocks_BIJ.mT)):
                lists[f"{part}{axis}_num_blocks"], lists[f"{part}{axis}_indices"] = _ordered(blocks)
        return BlockMask(
            seq_lengths=(length, length),
            BLOCK_SIZE=(block_size, block_size),
            mask_mod=mask_mod,
            **lists,
        )

    def mask(self, backend: AttentionBackend, *, dtype: torch.dtype) -> "Mask":
        """The mask of rows that attend to themselves (K = S), for heads of `dtype`."""
        if backend == "dense":
            return DenseMask.of(self, num_keys=self.first_BS.shape[1], dtype=dtype)
        return FlexMask(
            blocks=self.blocks(), flex_attention=_flex_attention(self.first_BS.device.type)
        )


def _ordered(blocks_BIJ: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row of blocks has, int32 [B, 1, I], and which, they first, int32
    [B, 1, I, J]."""
    blocks_B1IJ = blocks_BIJ.to(torch.int32, memory_format=torch.contiguous_format)[:, None]
    index_B1IJ = blocks_B1IJ.argsort(dim=-1, descending=True, stable=True)
    return blocks_B1IJ.sum(-1, dtype=torch.int32), index_B1IJ.int()


@cache
def _flex_attention(device_type: str) -> Callable[..., Any]:
    """Compiled where its kernels are, once a process: new masks and rows of the same shape run what
    is compiled. On a CPU as it is, over all pairs, which needs no C++ compiler."""
    from torch.nn.attention.flex_attention import flex_attention

    if device_type == "cuda":
        return torch.compile(flex_attention)
    return flex_attention


class Mask(Protocol):
    """Attention of q [B, H, S, E] to k and v [B, G, K, E] under a mask, [B, H, S, E]."""

    def attend(self, q_BHSE: Tensor, k_BGKE: Tensor, v_BGKE: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class DenseMask:
    """By scaled_dot_product_attention, with 0 or −∞ added to each score.

    It would make the same numbers of a boolean mask, but of its own again in every layer.
    """

    bias_B1SK: Tensor

    @classmethod
    def of(cls, visible: Visible, *, num_keys: int, dtype: torch.dtype) -> "DenseMask":
        hidden_B1SK = ~visible.dense(num_keys)
        bias_B1SK = torch.zeros(hidden_B1SK.shape, dtype=dtype, device=hidden_B1SK.device)
        return cls(bias_B1SK=bias_B1SK.masked_fill_(hidden_B1SK, -torch.inf))

    def attend(self, q_BHSE: Tensor, k_BGKE: Tensor, v_BGKE: Tensor) -> Tensor:
        group = q_BHSE.shape[1] // k_BGKE.shape[1]
        if group > 1:
            k_BGKE, v_BGKE = (x.repeat_interleave(group, dim=1) for x in (k_BGKE, v_BGKE))
        return F.scaled_dot_product_attention(q_BHSE, k_BGKE, v_BGKE, attn_mask=self.bias_B1SK)


@dataclass(frozen=True, kw_only=True)
class FlexMask:
    """By flex_attention, over the blocks that are not empty."""

    blocks: "BlockMask"
    flex_attention: Callable[..., Any]

    def attend(self, q_BHSE: Tensor, k_BGKE: Tensor, v_BGKE: Tensor) -> Tensor:
        return self.flex_attention(q_BHSE, k_BGKE, v_BGKE, block_mask=self.blocks, enable_gqa=True)
