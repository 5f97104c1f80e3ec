"""Features of many pictures, read from their files as they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unimm_eval.api import ArrayRow, UserError, load_rows

HALF_MAX = float(np.finfo(np.float16).max)
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One array of each of N pictures, its first axis the layers: [N, layer, …]. Nothing of it
    stays in memory but what is being looked at."""

    rows: Sequence[ArrayRow]
    shape: tuple[int, ...]
    """Of one picture's array."""
    name: str
    """Of the layers, for messages."""

    @classmethod
    def of(cls, rows: Sequence[ArrayRow], *, name: str) -> "Stack":
        return cls(rows=rows, shape=rows[0].load().shape, name=name)

    def read(self, places: np.ndarray, layers: slice) -> np.ndarray:
        """[place, layer, …] as stored. Raises UserError naming the file and the layer where a
        number is not finite."""
        found = load_rows([self.rows[place] for place in places], part=layers)
        if not np.isfinite(found).all():
            row, layer = np.argwhere(~np.isfinite(found))[0][:2]
            place, layer = int(places[row]), int(layer) + (layers.start or 0)
            raise UserError(
                f"{self.rows[place].path or 'the features'}, row {self.rows[place].row}: "
                f"{self.name}.{layer} holds numbers that are not finite.",
                fix="Remove the folder of the run; then the same command makes it again.",
            )
        return found

    def chunks(self, places: np.ndarray, layers: slice) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places and what `read` gives, a part at a time."""
        size = (
            int(np.prod(self.shape)) // self.shape[0] * len(range(*layers.indices(self.shape[0])))
        )
        count = max(1, _CHUNK_BYTES // (4 * size))
        for start in range(0, len(places), count):
            part = places[start : start + count]
            yield part, self.read(part, layers)


def packed(features: np.ndarray, *, name: str) -> np.ndarray | str:
    """[layer, …] as they are kept, in half precision, or why they cannot be."""
    largest = np.abs(features).reshape(len(features), -1).max(axis=1)
    for layer, value in enumerate(largest):
        if not np.isfinite(value):
            return f"{name}.{layer} is not finite"
        if value > HALF_MAX:
            return f"{name}.{layer} reaches {value:.3g}; features are kept up to {HALF_MAX:,.0f}"
    return features.astype(np.float16)
