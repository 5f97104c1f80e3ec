"""Rolling windows over a document, as lm-eval counts them: every token is scored exactly once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Window:
    """`scored` is predicted after `context`: the model is given both but for the last of them."""

    context: Sequence[int]
    scored: Sequence[int]


def rolling_windows(
    ids: Sequence[int], *, prefix: int, max_length: int, overlap: int
) -> list[Window]:
    """Cut `ids` into windows for which the model is given at most `max_length` tokens.

    The first is predicted from `prefix`. Each later one is given at least `overlap` + 1 tokens from
    before it, since its first token needs one to be predicted from; the last reaches back as far as
    fits. These are lm-eval's windows with `context_len` = `overlap` + 1. Raises ValueError when
    nothing is left to score.
    """
    if not 0 <= overlap < max_length:
        raise ValueError(f"overlap {overlap} leaves nothing to score in windows of {max_length}")
    windows = [Window(context=[prefix], scored=ids[:max_length])] if ids else []
    step = max_length - overlap
    for start in range(max_length, len(ids), step):
        scored = ids[start : start + step]
        context = ids[start + len(scored) - max_length - 1 : start]
        windows.append(Window(context=context, scored=scored))
    return windows


def sharing(windows: Sequence[Window], *, least: float) -> tuple[list[list[int]], list[int]]:
    """Indices of windows in groups of one context, and the indices of the others.

    A group is worth while where encoding its context once instead of each time saves at least
    `least` tokens, and the context is no shorter than what is scored behind it: short documents,
    which all begin alike, are no group.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, window in enumerate(windows):
        rows.setdefault(tuple(window.context), []).append(row)
    groups = [
        of
        for context, of in rows.items()
        if len(context) * (len(of) - 1) >= least
        and len(context) >= max(len(windows[row].scored) for row in of)
    ]
    grouped = {row for group in groups for row in group}
    return groups, [row for row in range(len(windows)) if row not in grouped]


def passes(lengths: Sequence[int], *, tokens: int, spare: float = math.inf) -> Iterator[list[int]]:
    """Indices of rows that go through the model together: rows of like length, longest first, at
    most `tokens` of them padded to the longest, of which at most `spare` are padding, and at least
    one row."""
    rows: list[int] = []
    padding = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        longest = max(1, lengths[rows[0]]) if rows else 0
        short = longest - lengths[row]
        if rows and ((len(rows) + 1) * longest > tokens or padding + short > spare):
            yield rows
            rows, short, padding = [], 0, 0
        padding += max(0, short)
        rows.append(row)
    if rows:
        yield rows
