"""Errors of differences: against the paired error, statsmodels, and by what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as distributions
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from unimm_eval.stats import clustered_mean, macro_mean, paired_difference, ratio, without_errors
from unimm_eval.stats.pairs import GROUPS, change_of, holm, independent_outputs, jackknife


def of_means(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return lambda keep: {"mean": float(b[keep].mean() - a[keep].mean())}


def pairs(clusters, size, seed=0):
    rng = np.random.default_rng(seed)
    shape = (clusters, size)
    shared = rng.normal(size=(clusters, 1))
    a, b = ((shared + rng.normal(size=shape)).ravel() for _ in range(2))
    return a, b, [f"c{index}" for index in range(clusters) for _ in range(size)]


@pytest.mark.parametrize(("clusters", "size"), [(7, 1), (30, 3), (GROUPS, 2)])
def test_of_plain_means_it_is_the_paired_error(clusters, size):
    a, b, names = pairs(clusters, size)
    stderr, df = jackknife(of_means(a, b), names)["mean"]
    expected = paired_difference(list(b), list(a), names)
    assert stderr == pytest.approx(expected.stderr, rel=1e-9)
    assert df == clusters - 1
    change = change_of(expected.value, stderr=stderr, df=df, clusters=clusters, paired=True)
    assert change.interval == pytest.approx(expected.interval, rel=1e-9)
    t = distributions.ttest_1samp((b - a).reshape(clusters, size).mean(1), 0)
    assert change.p == pytest.approx(t.pvalue, rel=1e-9)


def test_many_clusters_are_left_out_in_groups():
    a, b, names = pairs(1_000, 1)
    stderr, df = jackknife(of_means(a, b), names)["mean"]
    assert df == GROUPS - 1
    assert stderr == pytest.approx(paired_difference(list(b), list(a), names).stderr, rel=0.2)


def test_means_of_means_have_the_error_of_their_influences():
    rng = np.random.default_rng(1)
    groups = [f"g{index % 4}" for index in range(96)]
    names = [f"c{index}" for index in range(96)]
    values = list(rng.normal(size=96))

    def difference(keep):
        parts = [[values[i], groups[i], names[i]] for i in keep]
        with without_errors():
            return {"mean": macro_mean(*map(list, zip(*parts, strict=True))).value}

    (stderr, _) = jackknife(difference, names)["mean"]
    assert stderr == pytest.approx(macro_mean(values, groups, names).stderr, rel=0.02)


def test_ratios_have_the_error_of_the_bootstrap():
    rng = np.random.default_rng(2)
    tokens = rng.integers(5, 200, 90).astype(float)
    nats = tokens * rng.normal(2, 0.3, 90)
    names = [f"c{index}" for index in range(90)]

    def difference(keep):
        with without_errors():
            return {"ratio": ratio(nats[keep], tokens[keep], [names[i] for i in keep]).value}

    stderr, _ = jackknife(difference, names)["ratio"]
    assert stderr == pytest.approx(ratio(nats, tokens, names).stderr, rel=0.1)


def test_without_errors_the_value_is_the_same():
    values, names = [0.0, 1.0, 1.0, 0.0, 1.0], ["a", "a", "b", "c", "d"]
    full = clustered_mean(values, names), ratio(values, [1.0, 2, 3, 4, 5], names)
    with without_errors():
        bare = clustered_mean(values, names), ratio(values, [1.0, 2, 3, 4, 5], names)
    for one, other in zip(full, bare, strict=True):
        assert (other.value, other.n) == (one.value, one.n)
        assert other.stderr is other.interval is None
        assert one.interval is not None


def test_one_cluster_tells_nothing():
    assert jackknife(of_means([1.0, 2.0], [2.0, 3.0]), ["a", "a"]) == {}
    change = change_of(1.0, stderr=None, df=1, clusters=1, paired=True)
    assert change.interval is change.p is change.spread is None
    assert change.bound(0.05) is change.smallest_effect(alpha=0.05, power=0.8) is None


def test_what_cannot_be_made_without_a_group_has_no_error():
    def difference(keep):
        found = {"always": float(len(keep))}
        return found | ({"sometimes": 1.0} if 0 in keep else {})

    assert set(jackknife(difference, ["a", "b", "c"])) == {"always"}


def test_agreement_of_few_proves_little():
    same = change_of(0.0, stderr=0.0, df=39, clusters=40, paired=True, width=1.0)
    assert (same.stderr, same.p) == (0.0, 1.0)
    exact = 1 - 0.05 ** (1 / 40)  # of the binomial: no change among 40
    low, high = same.bound(0.05)
    assert -1.0 < low < 0 < high
    assert low == pytest.approx(-exact, rel=0.5)
    endless = change_of(0.0, stderr=0.0, df=39, clusters=40, paired=True)
    assert endless.interval == (0.0, 0.0)


def test_the_smallest_effect_is_that_of_a_power_analysis():
    change = change_of(0.0, stderr=0.1, df=math.inf, clusters=100, paired=True)
    found = change.smallest_effect(alpha=0.05, power=0.8)
    solved = NormalIndPower(ddof=0).solve_power(
        nobs1=100, alpha=0.05, power=0.8, ratio=0, alternative="larger"
    )
    assert found == pytest.approx(solved, rel=1e-4)


def test_a_drop_of_verdicts_brings_its_own_variance():
    change = change_of(
        0.0, stderr=0.0, df=math.inf, clusters=400, paired=True, width=1.0, independent=400
    )
    effect = change.smallest_effect(alpha=0.05, power=0.8)
    reach = distributions.norm.ppf(0.95) + distributions.norm.ppf(0.8)
    spread = math.sqrt(change.spread**2 + effect * (1 - effect) / 400)
    assert effect == pytest.approx(reach * spread)


def test_outputs_of_one_cluster_count_for_as_many_as_they_say_different_things():
    rng = np.random.default_rng(3)
    names = [f"c{index}" for index in range(50) for _ in range(4)]
    apart = rng.normal(size=200)
    together = np.repeat(rng.normal(size=50), 4)
    assert independent_outputs(list(together), names) == pytest.approx(50, rel=0.02)
    assert 120 < independent_outputs(list(apart), names) <= 200
    assert independent_outputs([0.0] * 200, names) == 50


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(p_values):
    named = {f"t{index}": p for index, p in enumerate(p_values)}
    expected = multipletests(p_values, method="holm")[1]
    assert list(holm(named).values()) == pytest.approx(list(expected), abs=1e-12)
