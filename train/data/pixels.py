"""Pixels of picture files that records name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unimm_eval.api import Picture
from unimm_eval.train.data.bad import BadRecord


def file_name(value: object) -> str:
    """`value`, if it can name a file. Raises BadRecord."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise BadRecord(f"{value!r:.80} is not the name of a file")
    return value


def loader(folder: Path, names: Sequence[str]) -> Callable[[int, int], list[np.ndarray]]:
    """uint8 [height, width, 3] of the files from one number to before another."""

    def load(begin: int, end: int) -> list[np.ndarray]:
        return [np.array(Picture(path=folder / name).load()) for name in names[begin:end]]

    return load
