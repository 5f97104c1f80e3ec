"""Text and picture tokens apart: which rows are whose, and weights of its own for each modality.

Shapes: N tokens, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

TEXT, IMAGE = 0, 1


@dataclass(frozen=True, kw_only=True)
class Modalities:
    """The modality of every token of one forward pass (`of_N`, TEXT or IMAGE).

    How to set the tokens of a modality apart is found when first asked for, once for all layers: it
    is the only place that waits for the device.
    """

    of_N: Tensor

    @cached_property
    def _order_N(self) -> Tensor:
        """Indices of the text tokens, then of the picture tokens."""
        return self.of_N.argsort(stable=True)

    @cached_property
    def _sizes(self) -> list[int]:
        return torch.bincount(self.of_N, minlength=2).tolist()

    def split(self, x_ND: Tensor) -> tuple[Tensor, ...]:
        """The rows of text and those of pictures; either may be none."""
        return x_ND.index_select(0, self._order_N).split(self._sizes)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """What `split` took apart, every row back in its place."""
        x_ND = torch.cat(list(parts))
        return torch.empty_like(x_ND).index_copy_(0, self._order_N, x_ND)


class PerModality(nn.Module):
    """Two modules of one kind, for text and for picture tokens; a token goes through its own."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(make() for _ in (TEXT, IMAGE))

    def forward(self, x: Tensor, modalities: Modalities) -> Tensor:
        parts = modalities.split(x.flatten(0, -2))
        y_ND = modalities.join([expert(x) for expert, x in zip(self.experts, parts, strict=True)])
        return y_ND.unflatten(0, x.shape[:-1])


def build(kind: Literal["shared", "modality"], make: Callable[[], nn.Module]) -> nn.Module:
    """One module for all tokens, or one for each modality; to be called through `apply`."""
    return PerModality(make) if kind == "modality" else make()


def apply(module: nn.Module, x: Tensor, modalities: Modalities) -> Tensor:
    """What `build` made, on tokens [..., D]."""
    return module(x, modalities) if isinstance(module, PerModality) else module(x)
