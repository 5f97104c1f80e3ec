"""The order in which the rows of a source are seen: another permutation in each epoch."""

import hashlib
import logging
from typing import Any

from unimm_eval.api import stable_hash


class Order:
    """Row j of an endless sequence of epochs, for any j, without what came before it (grain)."""

    def __init__(self, rows: int, *, seed: int, source: str) -> None:
        self.rows = rows
        key = hashlib.sha256(stable_hash([seed, source]).encode()).digest()
        self._order = _shuffled(rows, int.from_bytes(key[:4], "little") >> 1)

    def __getitem__(self, j: int) -> int:
        return int(self._order[j])


def _shuffled(rows: int, seed: int) -> Any:
    logging.getLogger("absl").setLevel(logging.ERROR)  # grain misses jax, which we do not need
    import grain

    return grain.MapDataset.range(rows).shuffle(seed=seed).repeat(None)
