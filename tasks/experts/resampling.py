"""Choices of many documents and pictures, summed, and summed again with others drawn.

Shapes: D documents, P pictures, L layers, E routed experts, T times, B draws.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unimm_eval import stats
from unimm_eval.api import Score
from unimm_eval.tasks.experts.routing import TIMES, unpack
from unimm_eval.tasks.experts.statistics import Choices

MODEL, TWIN = "counts", "twin"
"""Names in the payload of a score: what the model chose, and what its untrained twin did."""
_CELLS = 8_000_000  # values held at once
_SHUFFLES = 20


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What was chosen for each document and each picture, or None without any."""

    text: np.ndarray | None
    """int64 [D, L, E]"""
    pictures: np.ndarray | None
    """int64 [P, L, E, T + 1]: at each time, and clean"""

    @classmethod
    def gathered(cls, scores: Sequence[Score], *, name: str) -> "Routed":
        """Of scored outputs; `name` is MODEL or TWIN."""
        found = [unpack(score.payload[name]) for score in scores]
        text = [counts[..., 0] for counts in found if counts.shape[-1] == 1]
        pictures = [counts for counts in found if counts.shape[-1] != 1]
        return cls(
            text=np.stack(text) if text else None,
            pictures=np.stack(pictures) if pictures else None,
        )

    @property
    def clusters(self) -> int:
        """Of the scarcer: what an error can be told from."""
        return min(len(part) for part in (self.text, self.pictures) if part is not None)

    def whole(self) -> Choices:
        """Everything once."""
        return _choices(
            None if self.text is None else self.text.sum(axis=0),
            None if self.pictures is None else self.pictures.sum(axis=0),
        )

    def drawn(self, *, resamples: int) -> Iterator[Choices]:
        """As many documents and as many pictures again, drawn with replacement, `resamples` times,
        some draws at once. Equal sizes give equal draws: those of a model and of its twin are of
        the same documents and pictures."""
        rng = np.random.default_rng(stats.BOOTSTRAP_SEED)
        parts = [part for part in (self.text, self.pictures) if part is not None]
        at_once = max(1, _CELLS // max(part[0].size for part in parts))
        for start in range(0, resamples, at_once):
            draws = min(at_once, resamples - start)
            yield _choices(_resampled(self.text, rng, draws), _resampled(self.pictures, rng, draws))

    def shuffled_times(self) -> Iterator[Choices]:
        """The pictures, the times of each in another order: as if time did not matter."""
        assert self.pictures is not None
        rng = np.random.default_rng(stats.BOOTSTRAP_SEED)
        for _ in range(_SHUFFLES):
            order = rng.permuted(np.tile(np.arange(TIMES), (len(self.pictures), 1)), axis=1)
            noisy = np.take_along_axis(
                self.pictures[..., :TIMES], order[:, None, None, :], axis=-1
            ).sum(axis=0)
            text = None if self.text is None else self.text.sum(axis=0)
            yield Choices(text=text, noisy=noisy, clean=self.pictures[..., TIMES].sum(axis=0))


def _choices(text: np.ndarray | None, pictures: np.ndarray | None) -> Choices:
    if pictures is None:
        return Choices(text=text, noisy=None, clean=None)
    return Choices(text=text, noisy=pictures[..., :TIMES], clean=pictures[..., TIMES])


def _resampled(part: np.ndarray | None, rng: np.random.Generator, draws: int) -> np.ndarray | None:
    """[draws, …] sums of `part` [N, …] over N drawn of it."""
    if part is None:
        return None
    count = len(part)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    summed = weights @ part.reshape(count, -1).astype(np.float64)
    return summed.reshape(draws, *part.shape[1:])
