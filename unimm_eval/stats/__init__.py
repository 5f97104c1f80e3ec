"""Errors and intervals of the numbers in a result.

Samples that share a picture, a document or a prompt are not independent, so every error here is
computed over clusters (Miller, arXiv:2411.00640, eq. 4; the CR1 estimator of econometrics). Bad
clusters fail loudly: a wrong error bar is worse than none.

Which interval belongs to which number:

* a mean of measurements: t interval, Welch–Satterthwaite degrees of freedom (clusters − 1 for a
  plain mean);
* a mean of verdicts, each 0 or 1: Wilson's, with the number of independent verdicts that the
  standard error implies. It stays inside [0, 1] and keeps a width at 0 and at 1, where the t
  interval has none;
* a ratio of sums (nats per token): percentile bootstrap over clusters.

Everything is deterministic: the bootstrap has its own fixed seed and sees clusters sorted by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unimm_eval.api import Metric

CONFIDENCE = 0.95
BOOTSTRAP_SEED = 20_260_101
BOOTSTRAP_RESAMPLES = 2_000
_RESOLUTION = 1e-6  # relative; nats come out of float32 arithmetic
_BOOTSTRAP_CELLS = 4_000_000  # values held at once: resamples x clusters, 32 MB

FloatArray = npt.NDArray[np.float64]

_ERRORS_WANTED: ContextVar[bool] = ContextVar("errors_wanted", default=True)


@contextmanager
def without_errors() -> Iterator[None]:
    """Inside, estimates are values alone: whoever summarizes a hundred times over, each time
    without some samples, has no use for the error of each."""
    token = _ERRORS_WANTED.set(False)
    try:
        yield
    finally:
        _ERRORS_WANTED.reset(token)


def errors_wanted() -> bool:
    """Whether errors and intervals are to be computed."""
    return _ERRORS_WANTED.get()


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its clustered standard error and 95% interval.

    With a single cluster nothing can be said about the error: both are None.
    """

    value: float
    stderr: float | None
    interval: tuple[float, float] | None
    n: int
    clusters: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def metric(
        self,
        name: str,
        *,
        unscored: int = 0,
        chance: float | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Metric:
        """As a metric of a task; the number of clusters joins its facts."""
        return Metric(
            name=name,
            value=self.value,
            stderr=self.stderr,
            interval=self.interval,
            n=self.n,
            unscored=unscored,
            chance=chance,
            facts={"clusters": self.clusters, **self.facts, **(facts or {})},
        )


def clustered_mean(values: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """Mean of `values`, its error clustered: √(G/(G−1)·Σ_c(Σ_{i∈c} xᵢ−x̄)²)/n.

    Wilson's interval if every value is 0 or 1, else t with G−1 degrees of freedom.
    Raises ValueError on empty, non-finite or unequally long input.
    """
    return macro_mean(values, [""] * len(values), clusters)


def paired_difference(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
) -> Estimate:
    """Mean of aᵢ − bᵢ over the same samples, clustered, with a t interval; with `groups` the mean
    of their means."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired")
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return _macro_mean(differences, groups or [""] * len(differences), clusters, verdicts=False)


def macro_mean(
    values: Sequence[float],
    groups: Sequence[str],
    clusters: Sequence[str],
    *,
    weights: Mapping[str, float] | None = None,
) -> Estimate:
    """Mean of the means of groups (tags, question families), weighted by `weights`, else equally.

    Each value moves the result by w_g·(xᵢ − x̄_g)/(Σw·n_g); these influences are summed within
    clusters, which may reach over groups, and the G_g/(G_g−1) correction is applied group by group.
    With one group this is `clustered_mean`. Wilson's interval if every value is 0 or 1, else t.
    Raises ValueError on empty, non-finite or unequally long input, and on weights that are not
    those of these groups.
    """
    array = np.asarray(values, dtype=np.float64)
    verdicts = bool(np.isin(array, (0.0, 1.0)).all())
    return _macro_mean(array, groups, clusters, verdicts=verdicts, weights=weights)


def _macro_mean(
    values: FloatArray,
    groups: Sequence[str],
    clusters: Sequence[str],
    *,
    verdicts: bool,
    weights: Mapping[str, float] | None = None,
) -> Estimate:
    _check(values, clusters)
    if len(groups) != len(values):
        raise ValueError(f"{len(values)} values but {len(groups)} groups")
    group_names, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    sizes = np.bincount(group_of)
    means = np.bincount(group_of, weights=values) / sizes
    weight_of = _weights(group_names.tolist(), weights)
    value = float((weight_of * means).sum() / weight_of.sum())
    if not errors_wanted():
        return Estimate(value=value, stderr=None, interval=None, n=len(values), clusters=0)
    cluster_names, cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    # A group of one cluster has no spread of its own to speak of, so neither has the whole.
    clusters_in = np.array(
        [len(np.unique(cluster_of[group_of == group])) for group in range(len(group_names))]
    )
    n, total = len(values), len(cluster_names)
    if (clusters_in < 2).any():
        return Estimate(value=value, stderr=None, interval=None, n=n, clusters=total)

    correction = np.sqrt(clusters_in / (clusters_in - 1.0))
    weight = correction * weight_of / (weight_of.sum() * sizes)
    influence = (values - means[group_of]) * weight[group_of]
    variance = float((np.bincount(cluster_of, weights=influence) ** 2).sum())
    own = np.array(
        [
            (np.bincount(cluster_of[mine], weights=influence[mine]) ** 2).sum()
            for mine in (group_of == group for group in range(len(group_names)))
        ]
    )
    df = _welch_satterthwaite(own, clusters_in)
    stderr = math.sqrt(variance)
    if verdicts:
        independent = _independent_verdicts(value, variance, clusters_in, weight_of)
        interval = wilson_interval(value, independent, df=df)
    else:
        reach = t_quantile(df) * stderr
        interval = (value - reach, value + reach)
    return Estimate(value=value, stderr=stderr, interval=interval, n=n, clusters=total)


def _weights(groups: Sequence[str], weights: Mapping[str, float] | None) -> FloatArray:
    if weights is None:
        return np.ones(len(groups))
    if set(groups) != set(weights) or not all(weight > 0 for weight in weights.values()):
        raise ValueError(f"weights {dict(weights)} do not fit groups {list(groups)}")
    return np.array([weights[group] for group in groups])


def _welch_satterthwaite(
    variances: FloatArray, clusters_in: npt.NDArray[np.signedinteger[Any]]
) -> float:
    """Degrees of freedom of a sum of independent variances; clusters − 1 for a single group."""
    total = float(variances.sum())
    if total <= 0.0:
        return float((clusters_in - 1).sum())
    return 1.0 / float(((variances / total) ** 2 / (clusters_in - 1)).sum())


def _independent_verdicts(
    value: float,
    variance: float,
    clusters_in: npt.NDArray[np.signedinteger[Any]],
    weight_of: FloatArray,
) -> float:
    """How many independent verdicts have this variance: n over the design effect, p(1−p)/variance.

    Where all verdicts of a group agree there is no variance to read it from; then each cluster
    counts as one verdict, the most cautious value (full correlation within clusters).
    """
    cautious = float(weight_of.sum() ** 2 / (weight_of**2 / clusters_in).sum())
    spread = value * (1.0 - value)
    if variance <= 1e-12 or spread <= 1e-12:
        return cautious
    return spread / variance


def wilson_interval(value: float, n: float, *, df: float = math.inf) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion seen in `n` (possibly fractional) verdicts.

    `df` widens the normal quantile to Student's t when the variance was itself estimated from few
    clusters (as Korn and Graubard do for survey proportions).
    """
    if not (0.0 <= value <= 1.0 and n > 0):
        raise ValueError(f"no proportion: {value} of {n}")
    z2 = t_quantile(df) ** 2
    centre = (value + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (value * (1 - value) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # The bounds at 0 and 1 are exact in real arithmetic; keep rounding from leaving a gap there.
    low = 0.0 if value == 0.0 else min(value, max(0.0, centre - reach))
    high = 1.0 if value == 1.0 else max(value, min(1.0, centre + reach))
    return low, high


def ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[str],
    *,
    transform: Callable[[float], float] | None = None,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = BOOTSTRAP_RESAMPLES,
) -> Estimate:
    """Σ numerators / Σ denominators (nats per token, bits per byte), bootstrapped over clusters.

    `transform` is increasing and applied to the ratio (exp: perplexity). The interval is the
    percentile one, which commutes with it, and never narrower than what float32 resolves; the
    standard error is that of the transformed resamples.
    Raises ValueError on empty, non-finite or unequally long input, or a denominator not above 0.
    """
    from scipy import stats

    above, below = (np.asarray(side, dtype=np.float64) for side in (numerators, denominators))
    _check(above, clusters)
    _check(below, clusters)
    if not (below > 0).all():
        raise ValueError("a denominator is not above 0")
    names, cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(cluster_of, weights=above), np.bincount(cluster_of, weights=below)
    outer = transform or float
    value = outer(float(sums[0].sum() / sums[1].sum()))
    if not errors_wanted():
        return Estimate(value=value, stderr=None, interval=None, n=len(above), clusters=0)
    if len(names) < 2:
        return Estimate(value=value, stderr=None, interval=None, n=len(above), clusters=len(names))
    result = stats.bootstrap(
        sums,
        lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BOOTSTRAP_CELLS // len(names)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    spread = np.array([outer(float(each)) for each in result.bootstrap_distribution])
    low, high = (outer(float(bound)) for bound in result.confidence_interval)
    rounding = _RESOLUTION * abs(value)
    return Estimate(
        value=value,
        stderr=float(spread.std(ddof=1)),
        interval=(min(low, value - rounding), max(high, value + rounding)),
        n=len(above),
        clusters=len(names),
        facts={"bootstrap_resamples": resamples},
    )


def t_quantile(df: float) -> float:
    """Two-sided 95% quantile of Student's t; the normal one for infinite `df`."""
    from scipy import stats

    tail = 0.5 + CONFIDENCE / 2
    return float(stats.norm.ppf(tail) if math.isinf(df) else stats.t.ppf(tail, df))


def _check(values: FloatArray, clusters: Sequence[str]) -> None:
    if values.ndim != 1 or len(values) == 0:
        raise ValueError("no values to summarize")
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values but {len(clusters)} clusters")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    if not all(clusters):
        raise ValueError("every value needs the name of its cluster")
