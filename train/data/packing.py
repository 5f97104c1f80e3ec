"""Documents into rows of a length: which pieces of which documents each row holds.

A document that can be cut (a video, between its frames) fills what is left of a row and goes on in
the next one as a document of its own; others stay whole.
"""

from bisect import bisect_left, insort

import numpy as np

_WINDOW = 1024

PIECE = np.dtype([("document", np.int64), ("begin", np.int32), ("end", np.int32)])
"""Pictures `begin` to before `end` of a document."""


def pack_whole(tokens: np.ndarray, pictures: np.ndarray, *, length: int) -> tuple[np.ndarray, ...]:
    """(pieces, starts): row r holds pieces[starts[r]:starts[r + 1]]. `tokens` [n] of documents, 0
    for one that is left out, none more than `length`; `pictures` [n].

    Of so many documents in a row the longest go first, each into the fullest row that has room, so
    that rows are full and what lies together in files is read together.
    """
    kept = np.flatnonzero(tokens)
    order: list[int] = []
    starts = [0]
    for begin in range(0, len(kept), _WINDOW):
        some = kept[begin : begin + _WINDOW]
        for row in _best_fit(tokens[some].tolist(), length):
            order += (begin + at for at in sorted(row))
            starts.append(len(order))
    documents = kept[order]
    pieces = np.zeros(len(documents), dtype=PIECE)
    pieces["document"], pieces["end"] = documents, pictures[documents]
    return pieces, np.array(starts, dtype=np.int64)


def _best_fit(tokens: list[int], length: int) -> list[list[int]]:
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # room that is left, and the number of the row
    for at in sorted(range(len(tokens)), key=lambda at: (-tokens[at], at)):
        fullest = bisect_left(open_rows, (tokens[at], -1))
        if fullest < len(open_rows):
            room, row = open_rows.pop(fullest)
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(at)
        insort(open_rows, (room - tokens[at], row))
    return rows


def pack_frames(
    tokens: np.ndarray, pictures: np.ndarray, *, length: int, frame: int, again: int
) -> tuple[np.ndarray, ...]:
    """The same for documents that may be cut between frames of `frame` tokens, laid into rows in
    their order. What is not frames
    is before the first; a piece that goes on takes `again` tokens before its frames."""
    pieces: list[tuple[int, int, int]] = []
    starts, left = [0], length
    for document in np.flatnonzero(tokens):
        count = int(pictures[document])
        before, begin = int(tokens[document]) - count * frame, 0
        while begin < count:
            fitting = min(count - begin, (left - before) // frame)
            if fitting > 0:
                pieces.append((int(document), begin, begin + fitting))
                begin, left = begin + fitting, left - before - fitting * frame
                before = again
            else:
                starts.append(len(pieces))
                left = length
    starts.append(len(pieces))
    return np.array(pieces, dtype=PIECE), np.array(starts, dtype=np.int64)
