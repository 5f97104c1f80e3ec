"""How far two runs over the same samples are apart, in any number that a summary makes of them.

A metric is a mean, a mean of means, a ratio, the distance of two sets: what its two values share is
that they are made from the same samples. So the error of their difference is taken from what the
difference does when clusters of samples are left out, the same ones on both sides: the
delete-a-group jackknife (Kott, "The delete-a-group jackknife", Journal of Official Statistics 17,
2001), with clusters as the least that is left out. For plain means over clusters of one size it is
the paired, clustered error of `paired_difference`, to the last bits.

Where a metric has a least and a largest value, samples that happen to agree prove little: of 40
answers of which none changed, one in fourteen may still change. The variance is therefore that of
the sample and one more cluster that changed altogether, as Agresti and Min (Statistics in Medicine
24, 2005) add half a pair to each cell of a table of matched pairs. It is what intervals and
p-values are made of; `stderr` stays without it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unimm_eval.stats import CONFIDENCE, clustered_mean

GROUPS = 100
"""At most so many groups of clusters are left out in turn; the error is then known to 7%."""
_SHUFFLE_SEED = 20_260_102

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Change:
    """The difference B − A of a metric.

    `stderr` is clustered and, if `paired`, of the same samples; else both sides count as
    independent. `interval` is the two-sided 95% interval and `p` the two-sided p-value of no
    difference, both of Student's t with `df` degrees of freedom and the cautious error `spread`.
    All of them are None where nothing can be said. `width` is that of the metric's range, if it has
    one, and `independent` as how many independent outputs those count that it is made of.
    """

    value: float
    stderr: float | None = None
    spread: float | None = None
    df: float = math.inf
    interval: tuple[float, float] | None = None
    p: float | None = None
    clusters: int
    paired: bool
    width: float | None = None
    independent: float

    def bound(self, alpha: float) -> tuple[float, float] | None:
        """One-sided bounds: below the first, or above the second, lies the true difference with
        probability `alpha` at most."""
        if self.spread is None:
            return None
        reach = quantile(1 - alpha, self.df) * self.spread
        return self.value - reach, self.value + reach

    def smallest_effect(self, *, alpha: float, power: float) -> float | None:
        """The smallest true difference δ that a one-sided test at `alpha` finds with `power`
        (Miller, arXiv:2411.00640, section 5): δ = (t_{1−α} + t_{power})·error.

        In a metric with a range, a change comes of samples that go from one end to the other, and
        adds to the variance that the test will see: δ·(width − δ) over the number of independent
        outputs, where δ is of the size of the error or larger. The equation is then quadratic.
        """
        if self.spread is None:
            return None
        reach = quantile(1 - alpha, self.df) + quantile(power, self.df)
        if self.width is None:
            return reach * self.spread
        added = reach**2 / self.independent
        half = added * self.width / 2
        return (half + math.sqrt(half**2 + (1 + added) * (reach * self.spread) ** 2)) / (1 + added)


def change_of(
    value: float,
    *,
    stderr: float | None,
    clusters: int,
    df: float,
    paired: bool,
    width: float | None = None,
    independent: float | None = None,
) -> Change:
    """A difference with its interval and p-value. Without `independent`, outputs of one cluster
    count as one."""
    count = float(clusters) if independent is None else independent
    if stderr is None:
        return Change(value=value, clusters=clusters, paired=paired, independent=count)
    one_cluster = 0.0 if width is None else width / (clusters + 2)
    spread = math.hypot(stderr, one_cluster)
    reach = quantile(0.5 + CONFIDENCE / 2, df) * spread
    return Change(
        value=value,
        stderr=stderr,
        spread=spread,
        df=df,
        interval=(value - reach, value + reach),
        p=_two_sided(value, spread, df),
        clusters=clusters,
        paired=paired,
        width=width,
        independent=count,
    )


def independent_outputs(differences: Sequence[float], clusters: Sequence[str]) -> float:
    """As how many independent ones these differences of outputs count: n over the design effect of
    their mean. At least one a cluster, which is also what is said where none differs; n at most."""
    names = len(set(clusters))
    values = np.asarray(differences, dtype=np.float64)
    centred = values - values.mean()
    stderr = clustered_mean(differences, clusters).stderr
    if stderr is None or stderr == 0:
        return float(names)
    alone = float((centred**2).sum()) / (len(values) - 1)
    return min(float(len(values)), max(float(names), alone / stderr**2))


def jackknife(
    differences: Callable[[IntArray], Mapping[str, float]], clusters: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """(standard error, degrees of freedom) of each difference by name.

    `differences` makes them from the rows with the given indices; `clusters` has a name for each
    row. A difference that cannot be made without some group has no error and is left out, and so
    are all where there is a single cluster.
    """
    group_of = _dealt(clusters)
    count = int(group_of.max()) + 1
    if count < 2:
        return {}
    without = [differences(np.flatnonzero(group_of != group)) for group in range(count)]
    names = set(without[0]).intersection(*without[1:])
    errors = {}
    for name in sorted(names):
        values = np.array([found[name] for found in without])
        if np.isfinite(values).all():
            variance = (count - 1) / count * float(((values - values.mean()) ** 2).sum())
            errors[name] = math.sqrt(variance), float(count - 1)
    return errors


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979):
    calling those below α different is wrong anywhere with probability α at most."""
    adjusted: dict[str, float] = {}
    worst = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda entry: entry[1])):
        worst = max(worst, min(1.0, (len(p_values) - place) * p))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}


def quantile(share: float, df: float) -> float:
    """Quantile of Student's t; the normal one for infinite `df`."""
    from scipy import special

    return float(special.ndtri(share) if math.isinf(df) else special.stdtrit(df, share))


def probability_below(value: float, spread: float, df: float) -> float:
    """P(T ≤ value / spread): the one-sided p-value of a true difference of 0 or more."""
    from scipy import special

    if spread == 0:
        return 0.5 if value == 0 else float(value > 0)
    scaled = value / spread
    return float(special.ndtr(scaled) if math.isinf(df) else special.stdtr(df, scaled))


def _two_sided(value: float, spread: float, df: float) -> float:
    return min(1.0, 2 * probability_below(-abs(value), spread, df))


def _dealt(clusters: Sequence[str]) -> IntArray:
    """The group of each row: clusters in a fixed shuffled order, dealt in turn."""
    names, cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(names))
    place = np.empty(len(names), dtype=np.intp)
    place[order] = np.arange(len(names)) % min(len(names), GROUPS)
    dealt: IntArray = place[cluster_of]
    return dealt
