"""Two encoders in one model: one to understand, one to generate (paper §7, Figure 21).

Pictures to be understood are shown clean, in the understanding encoder's latents, through an input
projection of their own; flow matching happens in the generating encoder's. A picture that the
model has made is, once finished, read again like any other: decoded and encoded to be understood.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from unimm_eval.model.encoders.base import Encoder


@dataclass(frozen=True, kw_only=True)
class Dual(Encoder):
    """As an encoder it is the generating one; its `reader` is the understanding one."""

    kind: ClassVar[str] = "dual"

    understanding: Encoder
    generating: Encoder

    def __post_init__(self) -> None:
        if self.understanding.grid != self.generating.grid:
            raise ValueError(
                f"both encoders must give as many tokens, but {self.understanding.kind} gives "
                f"{self.understanding.grid}² and {self.generating.kind} {self.generating.grid}²"
            )

    @property
    def picture_size(self) -> int:
        return self.generating.picture_size

    @property
    def grid(self) -> int:
        return self.generating.grid

    @property
    def channels(self) -> int:
        return self.generating.channels

    @property
    def decodes(self) -> bool:
        return self.generating.decodes

    @property
    def reader(self) -> Encoder:
        return self.understanding

    @property
    def understanding_channels(self) -> int:
        return self.understanding.channels

    @property
    def pinned(self) -> bool:
        return self.understanding.pinned and self.generating.pinned

    def check(self) -> None:
        self.understanding.check()
        self.generating.check()

    def load(self, *, device: torch.device, dtype: torch.dtype) -> Self:
        self.check()
        return replace(
            self,
            understanding=self.understanding.load(device=device, dtype=dtype),
            generating=self.generating.load(device=device, dtype=dtype),
        )

    def fit(self, picture: Tensor) -> Tensor:
        return self.generating.fit(picture)

    def encode(self, pictures: Tensor) -> Tensor:
        return self.generating.encode(pictures)

    def decode(self, latents: Tensor) -> Tensor:
        return self.generating.decode(latents)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "understanding": self.understanding.to_json(),
            "generating": self.generating.to_json(),
        }
