"""How near a predicted frame is to the true one, pixel by pixel: PSNR and SSIM, by torchmetrics.

SSIM is Wang et al.'s (2004) with a Gaussian window of 11 pixels. PSNR is 10·log₁₀(255²/MSE) in
decibels; equal frames have the MSE that rounding to whole numbers makes, 1/12, so that no mean is
infinite: 58.9 dB is as good as it gets.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SIDE = 11
_LEVELS = 255.0
BEST_PSNR = float(10 * np.log10(_LEVELS**2 * 12))


def qualities(
    frames: Sequence[np.ndarray], truths: Sequence[np.ndarray]
) -> tuple[list[float], list[float]]:
    """(PSNR, SSIM) of each frame and its truth, uint8 [height, width, 3], all of one size. Raises
    ValueError for sizes that differ or are too small for the window."""
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    shapes = {frame.shape for frame in (*frames, *truths)}
    if len(frames) != len(truths) or len(shapes) != 1 or min(next(iter(shapes))[:2]) < LEAST_SIDE:
        raise ValueError(f"no frames of one size, at least {LEAST_SIDE} pixels: {sorted(shapes)}")
    seen, true = _as_batch(frames), _as_batch(truths)
    psnr = peak_signal_noise_ratio(
        seen, true, data_range=_LEVELS, dim=(1, 2, 3), reduction="none"
    ).clamp(max=BEST_PSNR)
    ssim = structural_similarity_index_measure(seen, true, data_range=_LEVELS, reduction="none")
    assert not isinstance(ssim, tuple)  # one only if more than the index is asked for
    return psnr.tolist(), ssim.reshape(-1).tolist()


def _as_batch(pictures: Sequence[np.ndarray]) -> "Tensor":
    """float64 [N, 3, height, width]."""
    import torch

    return torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2).double()
