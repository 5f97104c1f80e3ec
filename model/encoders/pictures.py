"""Pictures of any size to an encoder's square, and pixels to what a network takes and back.

Shapes: I pictures.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Filter = Literal["bilinear", "bicubic"]


def central_square(picture: Tensor) -> Tensor:
    """The largest square in the middle of uint8 [height, width, 3].

    Cutting comes before resizing: a strip a pixel wide would be enlarged to more than memory holds.
    """
    height, width, _ = picture.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]


def resized(picture: Tensor, size: int, filter_: Filter) -> Tensor:
    """uint8 [height, width, 3] → [size, size, 3], antialiased. torch's uint8 kernels are the ones
    that image processors use, so the result has their bits."""
    if picture.shape[:2] == (size, size):
        return picture
    planes = picture.permute(2, 0, 1)[None]
    return F.interpolate(planes, (size, size), mode=filter_, antialias=True)[0].permute(1, 2, 0)


def to_planes(pictures: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 [I, size, size, 3] → fp32 [I, 3, size, size]: in [0, 1], then (x − mean) / std."""
    x = pictures.permute(0, 3, 1, 2).float() / 255
    return (x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)


def rescaled(planes: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """x · std + mean: from what a network is used to, to about [0, 1]. fp32 [I, 3, side, side]."""
    x = planes.float()
    return x * x.new_tensor(std).view(3, 1, 1) + x.new_tensor(mean).view(3, 1, 1)


def to_pictures(planes: Tensor) -> Tensor:
    """fp32 [I, 3, side, side] in [0, 1] → uint8 [I, side, side, 3], clipped and rounded."""
    return (planes * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
