"""Which source a row is of, and which of its rows: from the number of the row alone.

Row i looks where the i-th multiple of the golden ratio falls in a circle of which each source has
an arc as long as its share. No other sequence covers arcs of any length so evenly, at every moment
and for every rank's part of the rows, and how many rows of a source came before can be counted
without looking at them.
"""

from collections.abc import Sequence

_CIRCLE = 1 << 32
_STEP = 2654435769
"""The odd number nearest to the circle divided by the golden ratio."""


class Shares:
    """Rows of some sources in given proportions, which sum to 1."""

    def __init__(self, proportions: Sequence[float], *, start: int) -> None:
        """`start` is where on the circle row 0 looks."""
        total, self._ends = 0.0, [0]
        for proportion in proportions:
            total += proportion
            self._ends.append(round(min(total, 1.0) * _CIRCLE))
        last = max(i for i, proportion in enumerate(proportions) if proportion > 0)
        self._ends[last + 1 :] = [_CIRCLE] * (len(self._ends) - last - 1)
        self._start = start % _CIRCLE

    def source(self, row: int) -> int:
        """The source that `row` is of."""
        place = (self._start + row * _STEP) % _CIRCLE
        return next(i for i, end in enumerate(self._ends[1:]) if place < end)

    def before(self, row: int, source: int) -> int:
        """How many rows of `source` are before `row`."""
        return self._below(row, self._ends[source + 1]) - self._below(row, self._ends[source])

    def _below(self, rows: int, end: int) -> int:
        """How many of the first `rows` look at a place before `end`: x mod m < e just where
        ⌊x/m⌋ and ⌊(x − e)/m⌋ differ."""
        behind = self._start - end + _CIRCLE
        return rows + _sum_of_floors(rows, self._start) - _sum_of_floors(rows, behind)


def _sum_of_floors(n: int, b: int, a: int = _STEP, m: int = _CIRCLE) -> int:
    """Σ_{i<n} ⌊(a·i + b) / m⌋, by Euclid's algorithm: whole quotients are summed at once, and what
    is left counts lattice points under a line, for which the axes change places."""
    total = 0
    while n > 0:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        height = a * n + b
        if height < m:
            break
        n, b = height // m, height % m
        a, m = m, a
    return total
