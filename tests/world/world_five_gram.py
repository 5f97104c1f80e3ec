"""An interpolated Kneser-Ney model over words, vectorised: what no long memory can reach.

One absolute discount an order, from the counts of counts (Ney, Essen & Kneser, 1994); lower
orders by continuation counts (Kneser & Ney, 1995; Chen & Goodman, 1999, section 2.7).
"""

from collections.abc import Sequence

import numpy as np

_BITS = 9  # a word's share of a packed n-gram: vocabularies up to 512


def _packed(documents: Sequence[Sequence[int]], order: int) -> np.ndarray:
    """The n-gram that ends at each word: int64 [words, order], padded with 0 at the start."""
    rows = [np.concatenate([np.zeros(order - 1, np.int64), doc]) for doc in documents]
    return np.concatenate([np.lib.stride_tricks.sliding_window_view(row, order) for row in rows])


def _code(grams: np.ndarray) -> np.ndarray:
    code = np.zeros(len(grams), np.int64)
    for column in grams.T:
        code = code << _BITS | column
    return code


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


def nats_per_word(
    *, train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], vocabulary: int, order: int
) -> float:
    """Mean -log p of the words of `test` (ids from 1) under the model of `train`."""
    seen, asked = _packed(train, order), _packed(test, order)
    p = np.full(len(asked), 1 / vocabulary)
    for n in range(1, order + 1):
        if n == order:
            grams, counts = np.unique(_code(seen), return_counts=True)
        else:
            longer = np.unique(_code(seen[:, -n - 1 :]))
            grams, counts = np.unique(longer & (1 << _BITS * n) - 1, return_counts=True)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = once / (once + 2 * twice) if once else 0.5
        contexts, first = np.unique(grams >> _BITS, return_index=True)
        totals, types = np.add.reduceat(counts, first), np.diff([*first, len(grams)])
        code = _code(asked[:, -n:])
        count = _look_up(grams, counts, code)
        total = _look_up(contexts, totals, code >> _BITS)
        kinds = _look_up(contexts, types, code >> _BITS)
        known = total > 0
        safe = np.where(known, total, 1)
        here = np.maximum(count - discount, 0) / safe + discount * kinds / safe * p
        p = np.where(known, here, p)
    return float(-np.log(p).mean())
