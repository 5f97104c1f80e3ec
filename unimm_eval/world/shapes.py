"""Masks of the eight shapes, antialiased by 8 x 8 samples a pixel."""

from functools import cache

import numpy as np

from unimm_eval.world.scenes import SHAPES

_SAMPLES = 8


def _inside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points (x, y) in [-1, 1] (y downwards) are inside `shape`."""
    radius = np.hypot(x, y)
    inside: np.ndarray
    match shape:
        case "circle":
            inside = radius <= 1
        case "square":
            inside = np.maximum(abs(x), abs(y)) <= 0.92
        case "triangle":
            inside = abs(x) <= (y + 1) / 2
        case "diamond":
            inside = abs(x) / 0.8 + abs(y) <= 1
        case "cross":
            inside = np.minimum(abs(x), abs(y)) <= 0.3
        case "ring":
            inside = (radius <= 1) & (radius >= 0.56)
        case "moon":
            inside = (radius <= 1) & (np.hypot(x - 0.55, y) >= 0.85)
        case "bar":
            inside = abs(y) <= 0.36
        case _:
            raise ValueError(f"unknown shape {shape!r}; one of {', '.join(SHAPES)}")
    return inside


@cache
def shape_mask(*, shape: str, size: int) -> np.ndarray:
    """Coverage of each pixel by `shape` in a box of side `size`: float32 [size, size] in 0..1."""
    fine = (np.arange(size * _SAMPLES) + 0.5) / (size * _SAMPLES) * 2 - 1
    x, y = np.meshgrid(fine, fine)
    samples = _inside(shape, x, y).reshape(size, _SAMPLES, size, _SAMPLES)
    mask: np.ndarray = samples.mean(axis=(1, 3), dtype=np.float32)
    mask.flags.writeable = False
    return mask
