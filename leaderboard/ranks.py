"""What the errors of a column leave of its order.

Row i is better than row j when their difference lies outside its interval. The interval of a
difference is made of the intervals of the two (MOVER: Newcombe, Stat. Med. 1998; Zou and Donner,
Stat. Med. 2008), so that those of verdicts near 0 and 1 and of bootstraps keep their shape:

    v_i − v_j > k · √((v_i − low_i)² + (high_j − v_j)²),   k = z(1 − α/2m) / z(1 − α/2)

with α = 0.05 and m = n − 1, Bonferroni over the comparisons of one row, so that the interval holds
the true rank of a row with at least 95% (Mogstad, Romano, Shaikh and Wilhelm, Rev. Econ. Stud.
2024). It reaches from 1 + the number of rows that are better to n − the number that are worse.
Errors of two rows are taken as independent: cautious where both saw the same samples.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

ALPHA = 0.05

Interval = tuple[float, float]


def rank_intervals(
    values: Sequence[float], intervals: Sequence[Interval | None], *, higher_is_better: bool
) -> list[tuple[int, int] | None]:
    """95% interval of each row's rank, 1 the best. None for a row without an interval; such a row
    still takes a place, so it widens the intervals of the others."""
    total = len(values)
    known = [index for index, interval in enumerate(intervals) if interval is not None]
    sign = 1.0 if higher_is_better else -1.0
    value = sign * np.array([values[index] for index in known], dtype=np.float64)
    ends = sign * np.array([intervals[index] for index in known], dtype=np.float64).reshape(-1, 2)
    below = np.maximum(value - ends.min(axis=1, initial=np.inf), 0.0)
    above = np.maximum(ends.max(axis=1, initial=-np.inf) - value, 0.0)
    factor = _widening(total - 1)
    ranks: list[tuple[int, int] | None] = [None] * total
    for place, index in enumerate(known):
        apart = value[place] - value
        worse = apart > factor * np.hypot(below[place], above)
        better = -apart > factor * np.hypot(above[place], below)
        ranks[index] = (1 + int(better.sum()), total - int(worse.sum()))
    return ranks


def places(values: Sequence[float], *, higher_is_better: bool) -> list[int]:
    """Place of each value, 1 the best; equal values share the better place."""
    ordered = sorted(values, reverse=higher_is_better)
    first: dict[float, int] = {}
    for place, value in enumerate(ordered, start=1):
        first.setdefault(value, place)
    return [first[value] for value in values]


def win_rate(own: Sequence[tuple[int, int, int]]) -> float | None:
    """Mean over columns of the share of other rows that a row is before, a tie counting half.

    `own` has, for each of the row's columns, its place, how many rows share it, and how many rows
    there are. None where there is nobody to be before.
    """
    shares = [
        (total - place - (shared - 1) / 2) / (total - 1)
        for place, shared, total in own
        if total > 1
    ]
    return sum(shares) / len(shares) if shares else None


def _widening(comparisons: int) -> float:
    """How much wider than one 95% interval each of so many comparisons is."""
    normal = NormalDist()
    one = normal.inv_cdf(1 - ALPHA / 2)
    return normal.inv_cdf(1 - ALPHA / (2 * max(1, comparisons))) / one
