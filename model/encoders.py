"""Pictures to latents and back.

An encoder turns uint8 pictures [I, height, width, 3] into fp32 latents [I, tokens, channels] of
about zero mean and unit scale, and back.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RawPixels:
    """Flattened RGB patches in [−1, 1] (paper §3): no network, exactly invertible."""

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
        height, width, _ = picture.shape
        side, size = min(height, width), self.picture_size
        top, left = (height - side) // 2, (width - side) // 2
        square = picture[top : top + side, left : left + side]
        if side == size:
            return square
        # Cutting comes first: a strip a pixel wide would be enlarged to more than memory holds.
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
        return {"kind": "raw_pixels", **asdict(self)}


def encoder_from_json(values: dict[str, Any]) -> RawPixels:
    """Raises ValueError for an unknown encoder."""
    values = dict(values)
    kind = values.pop("kind", None)
    if kind != "raw_pixels":
        raise ValueError(f"unknown encoder {kind!r}; known: raw_pixels")
    try:
        return RawPixels(**values)
    except TypeError as error:
        raise ValueError(str(error)) from error
