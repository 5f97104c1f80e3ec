"""The Fréchet distance between two sets of features, each as a Gaussian.

    d = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½        (Heusel et al., NeurIPS 2017, eq. 6)

The last trace is the sum of the singular values of R₁ᵀR₂ for any roots with RRᵀ = Σ. So no matrix
square root is iterated for (scipy's `sqrtm` needs an offset when the product is singular, and the
option that tells so is gone), nothing can become imaginary, and directions without variance cost no
digits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

_ROWS = 1024
"""Features held as float64 at once."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean [D] and covariance [D, D] (ddof 1), float64, of `n` features."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int


class Moments:
    """Running sums of features, weighted; `origin` [D], near the features, keeps digits."""

    def __init__(self, origin: np.ndarray) -> None:
        self._origin = origin.astype(np.float64)
        self._weight = 0
        self._sum_D = np.zeros(len(origin))
        self._sum_DD = np.zeros((len(origin), len(origin)))

    def add(self, features_ND: np.ndarray, weights_N: np.ndarray | None = None) -> None:
        """`weights_N` are how often each feature counts; once if they are not given."""
        centred = features_ND.astype(np.float64) - self._origin
        weights = np.ones(len(centred)) if weights_N is None else weights_N
        weighted = centred * weights[:, None]
        self._weight += int(weights.sum())
        self._sum_D += weighted.sum(0)
        self._sum_DD += weighted.T @ centred

    def statistics(self) -> Statistics:
        """Of what was added, at least one feature."""
        mean = self._sum_D / self._weight
        scatter = self._sum_DD - self._weight * np.outer(mean, mean)
        return Statistics(
            mean=self._origin + mean,
            covariance=scatter / max(1, self._weight - 1),
            n=self._weight,
        )


def statistics_of(features: Iterable[np.ndarray]) -> Statistics:
    """Of a stream of features [D], a block at a time. Raises ValueError when it is empty."""
    moments: Moments | None = None
    for block in blocks(features):
        moments = moments or Moments(block[0])
        moments.add(block)
    if moments is None:
        raise ValueError("no features")
    return moments.statistics()


def blocks(features: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """[at most 1024, D] at a time."""
    rest = iter(features)
    while part := list(islice(rest, _ROWS)):
        yield np.stack(part)


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """At least 0, for any covariances, singular ones too."""
    shared = root(first.covariance).T @ root(second.covariance)
    return _combined(first, second, float(np.linalg.svd(shared, compute_uv=False).sum()))


def root(covariance: np.ndarray) -> np.ndarray:
    """R [D, rank] with RRᵀ = `covariance`; directions of no variance are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    scaled: np.ndarray = vectors[:, kept] * np.sqrt(values[kept])
    return scaled


def resampled_distances(
    features_ND: np.ndarray,
    clusters: Sequence[str],
    reference: Statistics,
    *,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """Distances [resamples] of features drawn again with replacement, whole clusters at a time, in
    order of their names. The reference stays as it is."""
    names, cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    reference_root = root(reference.covariance)
    distances = np.empty(resamples)
    for index in range(resamples):
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        moments = Moments(features_ND[0])
        for start in range(0, len(features_ND), _ROWS):
            rows = slice(start, start + _ROWS)
            moments.add(features_ND[rows], drawn[cluster_of[rows]])
        again = moments.statistics()
        # Eigenvalues of R₂ᵀΣ₁R₂ are the squares of those singular values: quicker, and its last
        # digits do not matter here.
        squares = np.linalg.eigvalsh(reference_root.T @ again.covariance @ reference_root)
        distances[index] = _combined(again, reference, float(np.sqrt(squares.clip(0)).sum()))
    return distances


def _combined(first: Statistics, second: Statistics, shared: float) -> float:
    apart = first.mean - second.mean
    spread = float(np.trace(first.covariance) + np.trace(second.covariance))
    return max(0.0, float(apart @ apart) + spread - 2 * shared)
