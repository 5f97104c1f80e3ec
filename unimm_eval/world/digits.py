"""Real handwritten digits: scikit-learn's 1,797 scans of 8 x 8 pixels, split once and for all.

Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

from functools import cache

import numpy as np

from unimm_eval.world.draw import Split, pick

_SHARES = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}


@cache
def _scans() -> tuple[np.ndarray, np.ndarray]:
    """(images [1797, 8, 8] float32 in 0..1, labels [1797] int)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32), data.target


@cache
def digit_rows(*, label: int, split: Split) -> tuple[int, ...]:
    """Rows of the data set that show `label` and belong to `split` (70 / 10 / 20 %)."""
    labels = _scans()[1]
    order = np.random.default_rng(0).permutation(len(labels))
    rows = order[labels[order] == label]
    low, high = (round(share * len(rows)) for share in _SHARES[split])
    return tuple(int(row) for row in rows[low:high])


@cache
def digit_mask(*, row: int, size: int) -> np.ndarray:
    """The scan in `row`, `size` x `size`, float32 ink in 0..1."""
    from PIL import Image

    scan = Image.fromarray(_scans()[0][row])
    mask = np.asarray(scan.resize((size, size), Image.Resampling.BICUBIC))
    clipped: np.ndarray = np.clip(mask, 0.0, 1.0)
    return clipped


def digit_label(row: int) -> int:
    """Which digit the scan in `row` shows."""
    return int(_scans()[1][row])


def digit_image(label: int, split: Split, rng: np.random.Generator) -> np.ndarray:
    """A random scan of `label` from `split`: uint8 [8, 8], white ink on black."""
    row = pick(rng, digit_rows(label=label, split=split))
    return np.round(digit_mask(row=row, size=8) * 255).astype(np.uint8)
