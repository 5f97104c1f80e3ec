"""Text and picture tokens apart: which rows are whose, and weights of its own for each modality.

Shapes: N tokens, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

TEXT, IMAGE = 0, 1


@dataclass(frozen=True, kw_only=True)
class Modalities:
    """The modality of every token of one forward pass (`of_N`, TEXT or IMAGE).

    `apart` also finds `order_N`, the indices of text tokens and then of picture tokens, and how
    many there are of each. That waits for the device, so it is done once for all layers.
    """

    of_N: Tensor
    order_N: Tensor | None = None
    counts: tuple[int, ...] = ()

    @classmethod
    def apart(cls, of_N: Tensor) -> "Modalities":
        counts = torch.bincount(of_N, minlength=2).tolist()
        return cls(of_N=of_N, order_N=of_N.argsort(stable=True), counts=tuple(counts))

    def split(self, x_ND: Tensor) -> tuple[Tensor, ...]:
        """The rows of text and those of pictures; either may be none."""
        assert self.order_N is not None
        return x_ND.index_select(0, self.order_N).split(self.counts)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """What `split` took apart, every row back in its place."""
        assert self.order_N is not None
        x_ND = torch.cat(list(parts))
        return torch.empty_like(x_ND).index_copy_(0, self.order_N, x_ND)


class PerModality(nn.Module):
    """Two modules of one kind, for text and for picture tokens; a token goes through its own."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.experts = nn.ModuleList(make() for _ in (TEXT, IMAGE))

    def forward(self, x: Tensor, modalities: Modalities) -> Tensor:
        if not torch.is_grad_enabled():  # training wants a gradient, if of zeros, for both
            for expert, count in zip(self.experts, modalities.counts, strict=True):
                if count == modalities.of_N.numel():
                    return expert(x)
        parts = modalities.split(x.flatten(0, -2))
        y_ND = modalities.join([expert(x) for expert, x in zip(self.experts, parts, strict=True)])
        return y_ND.unflatten(0, x.shape[:-1])


def build(kind: Literal["shared", "modality"], make: Callable[[], nn.Module]) -> nn.Module:
    """One module for all tokens, or one for each modality; to be called through `apply`."""
    return PerModality(make) if kind == "modality" else make()


def apply(module: nn.Module, x: Tensor, modalities: Modalities) -> Tensor:
    """What `build` made, on tokens [..., D]."""
    return module(x, modalities) if isinstance(module, PerModality) else module(x)
