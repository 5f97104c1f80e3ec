"""DPG-Bench's picture files: the four pictures of a prompt in one, two by two."""

from collections.abc import Sequence

import numpy as np

from unimm_eval.api import PictureError

CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(row, column) of the pictures, in order."""


def cell_of(grid: np.ndarray, index: int, *, side: int, name: str) -> np.ndarray:
    """Picture `index` of a file [2·side, 2·side, 3]. Raises PictureError for any other size."""
    height, width = grid.shape[:2]
    if (height, width) != (2 * side, 2 * side):
        raise PictureError(
            f"the grid {name} has {width} × {height} pixels instead of {2 * side} × {2 * side}, "
            f"four pictures of {side} × {side}"
        )
    row, column = CELLS[index]
    return grid[row * side : (row + 1) * side, column * side : (column + 1) * side].copy()


def grid_of(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """One to four square pictures of one size as a file; cells without one are black. Raises
    ValueError for others."""
    side = pictures[0].shape[0]
    if any(picture.shape != (side, side, 3) for picture in pictures):
        raise ValueError("pictures of a grid are square and of one size")
    grid = np.zeros((2 * side, 2 * side, 3), np.uint8)
    for picture, (row, column) in zip(pictures, CELLS, strict=False):
        grid[row * side : (row + 1) * side, column * side : (column + 1) * side] = picture
    return grid
