"""Documents into rows of a length: which pieces of which documents each row holds.

Documents are laid into rows in their order, each row taking what fits. A document that can be cut
(a video, between its frames) fills what is left of a row and goes on in the next one as a document
of its own; others stay whole.
"""

import numpy as np

PIECE = np.dtype([("document", np.int64), ("begin", np.int32), ("end", np.int32)])
"""Pictures `begin` to before `end` of a document."""


def pack_whole(tokens: np.ndarray, pictures: np.ndarray, *, length: int) -> tuple[np.ndarray, ...]:
    """(pieces, starts): row r holds pieces[starts[r]:starts[r + 1]]. `tokens` [n] of documents, 0
    for one that is left out, none more than `length`; `pictures` [n]."""
    kept = np.flatnonzero(tokens)
    pieces = np.zeros(len(kept), dtype=PIECE)
    pieces["document"], pieces["end"] = kept, pictures[kept]
    ends = np.concatenate(([0], np.cumsum(tokens[kept], dtype=np.int64)))
    following = np.searchsorted(ends, ends[:-1] + length, side="right") - 1
    starts = [0]
    while starts[-1] < len(kept):
        starts.append(int(following[starts[-1]]))
    return pieces, np.array(starts, dtype=np.int64)


def pack_frames(
    tokens: np.ndarray, pictures: np.ndarray, *, length: int, frame: int, again: int
) -> tuple[np.ndarray, ...]:
    """The same for documents that may be cut between frames of `frame` tokens. What is not frames
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
