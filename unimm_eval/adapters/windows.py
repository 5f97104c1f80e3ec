"""Rolling windows over a document, as lm-eval counts them: every token is scored exactly once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Window:
    """`context` is given, `scored` is predicted; together at most the window's length."""

    context: Sequence[int]
    scored: Sequence[int]


def rolling_windows(
    ids: Sequence[int], *, prefix: int, max_length: int, overlap: int
) -> list[Window]:
    """Cut `ids` into windows of at most `max_length` tokens, context included.

    The first window has `prefix` as its context; each later one the last `overlap` + 1 tokens
    before it, since the first scored token needs one token to be predicted from. Raises ValueError
    when that leaves nothing to score.
    """
    if not 0 <= overlap < max_length - 1:
        raise ValueError(f"overlap {overlap} leaves nothing to score in windows of {max_length}")
    first = max_length - 1
    windows = [Window(context=[prefix], scored=ids[:first])] if ids else []
    step = max_length - 1 - overlap
    for start in range(first, len(ids), step):
        context = ids[max(0, start - 1 - overlap) : start]
        windows.append(Window(context=context, scored=ids[start : start + step]))
    return windows


def passes(lengths: Sequence[int], *, tokens: int) -> Iterator[list[int]]:
    """Indices of rows that go through the model together: rows of like length, longest first, at
    most `tokens` of them padded to the longest, and at least one row."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        rows = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows
