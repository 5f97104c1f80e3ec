"""Errors and intervals: against statsmodels and scipy, by their properties, and by coverage."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from unimm_eval.stats import (
    BOOTSTRAP_SEED,
    clustered_mean,
    macro_mean,
    paired_difference,
    ratio,
    wilson_interval,
)


def names(indices):
    return [f"c{index}" for index in indices]


MEASUREMENTS = st.floats(-100, 100)
VERDICTS = st.sampled_from([0.0, 1.0])


@st.composite
def clustered(draw, elements=MEASUREMENTS):
    values = draw(st.lists(elements, min_size=2, max_size=40))
    clusters = draw(
        st.lists(st.integers(0, 8), min_size=len(values), max_size=len(values)).filter(
            lambda found: len(set(found)) > 1
        )
    )
    return values, names(clusters)


@given(clustered())
def test_clustered_mean_is_the_ols_of_statsmodels(data):
    values, clusters = data
    estimate = clustered_mean(values, clusters)
    codes = np.unique(clusters, return_inverse=True)[1]
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
    )
    assert estimate.value == pytest.approx(fit.params[0], abs=1e-9)
    assert estimate.stderr == pytest.approx(fit.bse[0], abs=1e-9)
    assert estimate.clusters == len(set(clusters))
    if not set(values) <= {0.0, 1.0}:
        assert estimate.interval == pytest.approx(fit.conf_int()[0], abs=1e-7)


@given(clustered(), st.randoms(use_true_random=False))
def test_order_does_not_matter(data, random):
    values, clusters = data
    rows = list(zip(values, clusters, strict=True))
    random.shuffle(rows)
    one, other = clustered_mean(values, clusters), clustered_mean(*zip(*rows, strict=True))
    assert one.value == pytest.approx(other.value, abs=1e-9)
    assert one.stderr == pytest.approx(other.stderr, abs=1e-9)


def test_repeating_every_answer_adds_no_evidence():
    values, clusters = [0.1, 0.7, 0.3, 0.9], names(range(4))
    once, thrice = clustered_mean(values, clusters), clustered_mean(values * 3, clusters * 3)
    assert thrice.stderr == pytest.approx(once.stderr)
    assert thrice.interval == pytest.approx(once.interval)
    assert (once.n, thrice.n, thrice.clusters) == (4, 12, 4)


def test_one_cluster_has_no_error_bar():
    for estimate in (
        clustered_mean([1.0, 2.0], ["same", "same"]),
        ratio([1.0, 2.0], [1.0, 1.0], ["same", "same"]),
        macro_mean([1.0, 2.0, 3.0], ["a", "a", "b"], ["x", "y", "z"]),
    ):
        assert estimate.stderr is None
        assert estimate.interval is None


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        ([], []),
        ([1.0, 2.0], ["a"]),
        ([1.0, math.nan], ["a", "b"]),
        ([1.0, math.inf], ["a", "b"]),
        ([1.0, 2.0], ["a", ""]),
        ([1.0, 2.0], ["a", None]),
    ],
)
def test_bad_input_fails_loudly(values, clusters):
    with pytest.raises(ValueError):  # noqa: PT011
        clustered_mean(values, clusters)
    with pytest.raises(ValueError):  # noqa: PT011
        ratio(values, [1.0] * len(values), clusters)


def test_lengths_of_pairs_groups_and_ratios_must_agree():
    with pytest.raises(ValueError, match="paired"):
        paired_difference([1.0], [1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="groups"):
        macro_mean([1.0, 2.0], ["g"], ["a", "b"])
    with pytest.raises(ValueError, match="above 0"):
        ratio([1.0, 2.0], [1.0, 0.0], ["a", "b"])


# --- Wilson ---------------------------------------------------------------------------------


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_that_of_statsmodels(data):
    hits, n = data
    expected = proportion_confint(hits, n, method="wilson")
    found = wilson_interval(hits / n, n)
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0.0 <= found[0] <= hits / n <= found[1] <= 1.0


def test_twenty_of_twenty_is_not_certainty():
    assert wilson_interval(1.0, 20) == (pytest.approx(0.84, abs=0.005), 1.0)
    assert clustered_mean([1.0] * 20, names(range(20))).interval[0] == pytest.approx(0.82, abs=0.01)


def test_verdicts_that_all_agree_count_clusters_and_not_samples():
    few = clustered_mean([0.0] * 40, names(i // 4 for i in range(40)))
    assert few.interval[0] == 0.0
    assert few.interval == pytest.approx(clustered_mean([0.0] * 10, names(range(10))).interval)


def test_verdicts_use_the_design_effect():
    independent = clustered_mean([0.0, 1.0] * 50, names(range(100)))
    doubled = clustered_mean([0.0, 1.0] * 100, names(i % 100 for i in range(200)))
    assert doubled.n == 2 * independent.n
    assert doubled.interval == pytest.approx(independent.interval)


@given(clustered(elements=VERDICTS))
def test_intervals_of_verdicts_hold_the_value_and_stay_inside(data):
    estimate = clustered_mean(*data)
    low, high = estimate.interval
    assert 0.0 <= low <= estimate.value <= high <= 1.0
    assert high > low


# --- macro averages and differences -----------------------------------------------------------


def test_macro_mean_of_separate_clusters_is_the_stratified_formula():
    rng = np.random.default_rng(0)
    values, groups, clusters, variances, means = [], [], [], [], []
    for group, size in (("a", 12), ("b", 30), ("c", 7)):
        part = rng.normal(size=size)
        values += list(part)
        groups += [group] * size
        clusters += [f"{group}{i}" for i in range(size)]
        variances.append(part.var(ddof=1) / size)
        means.append(part.mean())
    estimate = macro_mean(values, groups, clusters)
    assert estimate.value == pytest.approx(np.mean(means))
    assert estimate.stderr == pytest.approx(math.sqrt(sum(variances)) / 3)


def test_clusters_may_reach_over_groups():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=30)
    values = np.concatenate([shared, shared])
    groups = ["a"] * 30 + ["b"] * 30
    apart = macro_mean(values, groups, names(range(60)))
    together = macro_mean(values, groups, names([*range(30), *range(30)]))
    one = clustered_mean(shared, names(range(30)))
    assert together.stderr == pytest.approx(one.stderr)
    assert apart.stderr == pytest.approx(one.stderr / math.sqrt(2))


def test_macro_mean_weighs_groups_and_not_samples():
    assert macro_mean([1, 1, 1, 1, 0, 0], ["a"] * 4 + ["b"] * 2, names(range(6))).value == 0.5


@given(clustered())
def test_paired_difference_is_the_clustered_mean_of_differences(data):
    values, clusters = data
    other = [2 * value + 0.5 for value in values]
    estimate = paired_difference(values, other, clusters)
    direct = clustered_mean([a - b for a, b in zip(values, other, strict=True)], clusters)
    assert (estimate.value, estimate.stderr) == (direct.value, direct.stderr)


def test_differences_of_verdicts_get_a_t_interval():
    estimate = paired_difference([1.0, 1.0, 0.0], [0.0, 0.0, 0.0], names(range(3)))
    assert estimate.interval[1] > 1.0


# --- ratio ------------------------------------------------------------------------------------


def test_ratio_is_the_bootstrap_of_scipy():
    rng = np.random.default_rng(2)
    tokens = rng.integers(5, 200, size=60).astype(float)
    nats = tokens * rng.normal(2.0, 0.3, size=60)
    clusters = [f"{i:03d}" for i in range(60)]
    estimate = ratio(nats, tokens, clusters, transform=math.exp)
    reference = stats.bootstrap(
        (nats, tokens),
        lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    assert estimate.value == pytest.approx(math.exp(nats.sum() / tokens.sum()))
    assert estimate.interval == pytest.approx(tuple(np.exp(reference.confidence_interval)))
    assert estimate.stderr == pytest.approx(
        np.exp(reference.bootstrap_distribution).std(ddof=1), rel=1e-9
    )


def test_ratio_is_deterministic_and_blind_to_order():
    rng = np.random.default_rng(3)
    rows = [(float(a), float(b), f"d{i}") for i, (a, b) in enumerate(rng.uniform(1, 9, (25, 2)))]
    one = ratio(*zip(*rows, strict=True))
    assert one == ratio(*zip(*rows, strict=True))
    assert one == ratio(*zip(*reversed(rows), strict=True))


def test_equal_documents_leave_no_more_than_rounding():
    """A uniform guess among 768 tokens, in float32, is not told apart from one without rounding."""
    nats = float(np.log(np.float32(768)))
    estimate = ratio([7 * nats] * 9, [7] * 9, names(range(9)), transform=math.exp)
    assert estimate.value != 768
    assert estimate.interval[0] <= 768 <= estimate.interval[1]
    assert estimate.interval == pytest.approx((768, 768), rel=1e-5)
    assert estimate.stderr == pytest.approx(0.0, abs=1e-12)


def test_ratio_agrees_with_the_clustered_mean_where_both_apply():
    rng = np.random.default_rng(4)
    values = rng.normal(10, 1, size=300)
    clusters = names(i // 3 for i in range(300))
    boot, exact = ratio(values, np.ones(300), clusters), clustered_mean(values, clusters)
    assert boot.value == pytest.approx(exact.value)
    assert boot.stderr == pytest.approx(exact.stderr, rel=0.1)


# --- coverage: 95% intervals hold the truth about 95% of the time -------------------------------


def coverage(draw, truth, trials):
    hits = 0
    for trial in range(trials):
        low, high = draw(np.random.default_rng([5, trial])).interval
        hits += low <= truth <= high
    return hits / trials


def test_coverage_of_clustered_verdicts():
    def verdicts(rng):
        rates = np.repeat(rng.beta(4.5, 0.5, size=30), 4)  # mean 0.9, strongly clustered
        return clustered_mean(
            (rng.random(120) < rates).astype(float), names(i // 4 for i in range(120))
        )

    assert 0.92 <= coverage(verdicts, 0.9, 400) <= 0.99


def test_coverage_of_clustered_measurements():
    def measurements(rng):
        values = np.repeat(rng.normal(size=15), 5) + rng.normal(size=75)
        return clustered_mean(values, names(i // 5 for i in range(75)))

    assert 0.92 <= coverage(measurements, 0.0, 400) <= 0.98


def test_coverage_of_a_macro_mean_of_verdicts():
    rates = {"a": 0.98, "b": 0.9, "c": 0.6}

    def tags(rng):
        values, groups = [], []
        for tag, rate in rates.items():
            values += list((rng.random(40) < rate).astype(float))
            groups += [tag] * 40
        return macro_mean(values, groups, names(range(120)))

    assert 0.92 <= coverage(tags, sum(rates.values()) / 3, 400) <= 0.99


def test_coverage_of_a_ratio():
    def perplexity(rng):
        tokens = rng.integers(20, 200, size=80)
        nats = tokens * 2.0 + np.sqrt(tokens) * rng.normal(size=80)
        return ratio(nats, tokens, names(range(80)), transform=math.exp, resamples=400)

    assert 0.9 <= coverage(perplexity, math.exp(2.0), 150) <= 0.99


@given(clustered(), st.data())
def test_weights_of_groups(drawn, data):
    """Equal weights change nothing; a group's weight is its share of the whole."""
    values, clusters = drawn
    groups = [data.draw(st.sampled_from("ab")) for _ in values]
    groups[:2] = "ab"
    plain = macro_mean(values, groups, clusters)
    assert macro_mean(values, groups, clusters, weights={"a": 2.0, "b": 2.0}) == plain
    means = {g: np.mean([v for v, of in zip(values, groups, strict=True) if of == g]) for g in "ab"}
    weighted = macro_mean(values, groups, clusters, weights={"a": 0.9, "b": 0.1})
    assert weighted.value == pytest.approx(0.9 * means["a"] + 0.1 * means["b"], abs=1e-9)


def test_the_error_of_weighted_groups_is_that_of_independent_means():
    rng = np.random.default_rng(5)
    values, groups = rng.random(60), ["a"] * 40 + ["b"] * 20
    found = macro_mean(values, groups, names(range(60)), weights={"a": 0.7, "b": 0.3})
    variance = 0.49 * values[:40].var(ddof=1) / 40 + 0.09 * values[40:].var(ddof=1) / 20
    assert found.stderr == pytest.approx(math.sqrt(variance))


def test_weights_must_be_those_of_the_groups():
    with pytest.raises(ValueError, match="do not fit"):
        macro_mean([1.0, 0.0], ["a", "b"], ["1", "2"], weights={"a": 1.0})
