"""Linear decoders: from the token of a layer to the pixels of its patch, by ridge regression.

The regression is solved exactly, from sums over all tokens of the training pictures, and for every
penalty from one eigendecomposition. Shapes: N pictures, T tokens a picture, D width, P values of a
patch (its pixels, red, green and blue).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from unimm_eval.tasks.probes.stacks import Stack

if TYPE_CHECKING:
    from torch import Tensor

LEAST_ERROR = 1 / 12 / 255**2
"""Mean squared error of rounding to 8 bits: no picture is had back better than it is stored."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """PSNR in dB of each validation and test picture by layer, and the penalty of each layer."""

    ridge_L: np.ndarray
    val_NL: np.ndarray
    test_NL: np.ndarray


@dataclass(frozen=True, kw_only=True)
class _Decoder:
    """x ↦ (x − mean) @ weight + bias, [D] → [P]."""

    mean: "Tensor"
    weight: "Tensor"
    bias: "Tensor"


def patches_of(pixels: np.ndarray, *, tokens: int) -> np.ndarray:
    """The square patch of each token: uint8 [side, side, 3] → [tokens, P], row by row. Raises
    ValueError when the tokens are not a grid that the picture can be cut by."""
    side, grid = len(pixels), round(tokens**0.5)
    if grid * grid != tokens or side % grid:
        raise ValueError(f"{tokens} tokens are no grid of patches of a picture of {side} pixels")
    patch = side // grid
    cut = pixels.reshape(grid, patch, grid, patch, 3).transpose(0, 2, 1, 3, 4)
    return cut.reshape(tokens, patch * patch * 3)


def train_decoders(
    stack: Stack,
    pixels: Stack,
    *,
    train: np.ndarray,
    val: np.ndarray,
    test: np.ndarray,
    ridges: Sequence[float],
    device: str,
) -> Decoded:
    """Decoders of all layers, layer by layer; the penalty with the best mean PSNR of the pictures
    at the places `val` is each layer's.

    `stack` is [N, L, T, D], `pixels` uint8 [N, T, P]. A penalty is a share of the variance of a
    feature, all of which are brought to variance 1. Raises UserError for features that are not
    finite.
    """
    chosen, of_val, of_test = [], [], []
    for layer in range(stack.shape[0]):
        decoders = _fitted(stack, pixels, layer, train, ridges=ridges, device=device)
        found = [_psnr(stack, pixels, layer, val, decoder, device) for decoder in decoders]
        best = int(np.argmax([psnr.mean() for psnr in found]))
        chosen.append(ridges[best])
        of_val.append(found[best])
        of_test.append(_psnr(stack, pixels, layer, test, decoders[best], device))
    return Decoded(
        ridge_L=np.array(chosen),
        val_NL=np.stack(of_val, axis=1),
        test_NL=np.stack(of_test, axis=1),
    )


def _fitted(
    stack: Stack,
    pixels: Stack,
    layer: int,
    places: np.ndarray,
    *,
    ridges: Sequence[float],
    device: str,
) -> list[_Decoder]:
    import torch

    width, values = stack.shape[-1], pixels.shape[-1]
    sums = [
        torch.zeros(shape, dtype=torch.float64, device=device)
        for shape in ((width,), (values,), (width, width), (width, values))
    ]
    tokens = 0
    for part, found in stack.chunks(places, slice(layer, layer + 1)):
        x_MD = torch.from_numpy(found).to(device).double().flatten(0, 2)
        y_MP = _targets(pixels, part, device).flatten(0, 1)
        tokens += len(x_MD)
        for total, more in zip(
            sums, (x_MD.sum(0), y_MP.sum(0), x_MD.T @ x_MD, x_MD.T @ y_MP), strict=True
        ):
            total += more
    mean_D, mean_P, xx, xy = (total / tokens for total in sums)
    xx -= mean_D[:, None] * mean_D
    xy -= mean_D[:, None] * mean_P
    variance = xx.diagonal().clamp(min=0)
    scale = torch.where(variance > 1e-12 * (1 + mean_D.square()), variance, torch.inf).rsqrt()
    values_D, vectors = torch.linalg.eigh(xx * scale[:, None] * scale)
    along = vectors.T @ (xy * scale[:, None])
    return [
        _Decoder(
            mean=mean_D,
            weight=scale[:, None] * (vectors @ (along / (values_D.clamp(min=0) + ridge)[:, None])),
            bias=mean_P,
        )
        for ridge in ridges
    ]


def _psnr(
    stack: Stack, pixels: Stack, layer: int, places: np.ndarray, decoder: _Decoder, device: str
) -> np.ndarray:
    """Of each picture [N]: 10·log10(1 / mean squared error) of values in [0, 1]."""
    import torch

    errors = []
    for part, found in stack.chunks(places, slice(layer, layer + 1)):
        x_NTD = torch.from_numpy(found).to(device).double()[:, 0]
        drawn = (x_NTD - decoder.mean) @ decoder.weight + decoder.bias
        error = (drawn.clamp(0, 1) - _targets(pixels, part, device)).square().mean((1, 2))
        errors.append(error.cpu().numpy())
    found_N: np.ndarray = -10 * np.log10(np.concatenate(errors).clip(min=LEAST_ERROR))
    return found_N


def _targets(pixels: Stack, places: np.ndarray, device: str) -> "Tensor":
    """[N, T, P] in [0, 1]."""
    import torch

    return torch.from_numpy(pixels.read(places, slice(None))).to(device).double() / 255
