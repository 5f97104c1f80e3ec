"""Pixels as latents (paper §3): no network, exactly invertible."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm_eval.model.encoders.base import Encoder
from unimm_eval.model.encoders.pictures import central_square


@dataclass(frozen=True, kw_only=True)
class RawPixels(Encoder):
    """Flattened RGB patches in [−1, 1]. The paper's are 14-pixel patches of 224² pictures: 256
    tokens of 588 channels; the default is the demo's."""

    kind: ClassVar[str] = "raw_pixels"

    picture_size: int = 32
    patch_size: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, not {value!r}")
        if self.picture_size % self.patch_size:
            raise ValueError(
                f"picture_size {self.picture_size} is not a multiple of "
                f"patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> int:
        return self.picture_size // self.patch_size

    @property
    def channels(self) -> int:
        return 3 * self.patch_size**2

    def fit(self, picture: Tensor) -> Tensor:
        """uint8 [height, width, 3] of any size to the encoder's square: the largest square in the
        centre is cut out and resized (bicubic, antialiased)."""
        square, size = central_square(picture), self.picture_size
        if len(square) == size:
            return square
        resized = F.interpolate(
            square.permute(2, 0, 1)[None].float(), (size, size), mode="bicubic", antialias=True
        )[0]
        return resized.round().clamp(0, 255).byte().permute(1, 2, 0)

    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [I, size, size, 3] → fp32 [I, tokens, channels]."""
        count, grid, patch = len(pictures), self.grid, self.patch_size
        x = pictures.float() / 127.5 - 1
        x = x.view(count, grid, patch, grid, patch, 3).transpose(2, 3)
        return x.reshape(count, grid * grid, self.channels)

    def decode(self, latents: Tensor) -> Tensor:
        """fp32 [I, tokens, channels] → uint8 [I, size, size, 3]."""
        count, grid, patch, size = len(latents), self.grid, self.patch_size, self.picture_size
        x = latents.view(count, grid, grid, patch, patch, 3).transpose(2, 3)
        x = x.reshape(count, size, size, 3)
        return ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}
