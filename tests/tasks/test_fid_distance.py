"""The Fréchet distance: against the libraries' functions, on singular covariances, resampled."""

import numpy as np
import pytest

from unimm_eval.tasks.fid.frechet import (
    Moments,
    Statistics,
    frechet_distance,
    resampled_distances,
    root,
    statistics_of,
)


def features(n, size=12, *, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(seed + 100).normal(size=(size, size))
    return (rng.normal(size=(n, size)) @ mixing * scale + shift).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:The `disp` argument")
def test_equal_to_the_libraries_functions(seed):
    from cleanfid.fid import frechet_distance as clean
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    found = [features(200, seed=seed), features(300, seed=seed + 10, scale=1.3, shift=0.2)]
    ours = frechet_distance(*map(statistics_of, found))
    theirs = [{"mu": f.mean(0, dtype=float), "sigma": np.cov(f, rowvar=False)} for f in found]
    assert ours == pytest.approx(clean(*(s[k] for s in theirs for k in ("mu", "sigma"))), rel=1e-6)
    fidelity = fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"]
    assert ours == pytest.approx(fidelity, rel=1e-6)


def test_running_sums_are_numpys_moments_whatever_the_blocks():
    rows = features(5000, shift=1000.0)
    found = statistics_of(rows)
    assert found.n == 5000
    np.testing.assert_allclose(found.mean, rows.mean(0, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(rows.astype(float).T), rtol=1e-9)
    weighted = Moments(rows[0])
    weighted.add(rows[:3], np.array([2, 0, 1]))
    again = statistics_of(rows[[0, 0, 2]])
    np.testing.assert_allclose(weighted.statistics().covariance, again.covariance, rtol=1e-12)


def gaussian(mean, variances):
    return Statistics(mean=np.asarray(mean, float), covariance=np.diag(variances), n=9)


def test_known_distances():
    first, second = gaussian([0, 0, 0], [4, 9, 0]), gaussian([3, 0, 0], [1, 9, 16])
    assert frechet_distance(first, second) == pytest.approx(9 + 1 + 0 + 16)
    nowhere = gaussian([0, 0, 0], [0, 0, 0])
    assert frechet_distance(nowhere, second) == pytest.approx(9 + 26)
    assert frechet_distance(nowhere, nowhere) == 0.0


def test_singular_covariances_cost_no_digits():
    """Five features span four directions; turned into a basis where that is plain, the distance is
    the same."""
    few, many = features(5, 40, seed=1), features(900, 40, seed=2)
    first, second = statistics_of(few), statistics_of(many)
    assert root(first.covariance).shape == (40, 4)
    assert frechet_distance(first, first) == pytest.approx(0.0, abs=1e-9)
    basis = np.linalg.qr(np.c_[(few - few.mean(0))[:4].T.astype(float), np.eye(40)])[0]
    turned = [
        Statistics(mean=s.mean @ basis, covariance=basis.T @ s.covariance @ basis, n=s.n)
        for s in (first, second)
    ]
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(*turned), rel=1e-9)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first))


def test_order_does_not_matter():
    rows, reference = features(300), statistics_of(features(400, seed=5))
    turned = rows[np.random.default_rng(0).permutation(300)]
    one, other = (frechet_distance(statistics_of(r), reference) for r in (rows, turned))
    assert one == pytest.approx(other, rel=1e-10)


def test_resampling_draws_whole_clusters_in_any_order():
    rows, reference = features(60), statistics_of(features(400, seed=5))
    clusters = [f"c{i // 3:02d}" for i in range(60)]
    draws = resampled_distances(rows, clusters, reference, resamples=50, seed=1)
    turn = np.random.default_rng(0).permutation(60)
    again = resampled_distances(
        rows[turn], [clusters[i] for i in turn], reference, resamples=50, seed=1
    )
    np.testing.assert_allclose(draws, again, rtol=1e-9)
    drawn = np.bincount(np.random.default_rng(1).integers(0, 20, 20), minlength=20)
    by_hand = np.concatenate([rows[3 * c : 3 * c + 3] for c in range(20) for _ in range(drawn[c])])
    expected = frechet_distance(statistics_of(by_hand), reference)
    assert draws[0] == pytest.approx(expected, rel=1e-6)


def test_the_spread_of_draws_is_that_of_fresh_samples():
    """The bootstrap's standard error against the truth: many sets of pictures."""
    reference = statistics_of(features(5000, 6, seed=50))
    mixing = np.random.default_rng(100).normal(size=(6, 6))
    rng = np.random.default_rng(3)
    sets = [(rng.normal(size=(250, 6)) @ mixing).astype(np.float32) for _ in range(80)]
    truth = np.std([frechet_distance(statistics_of(s), reference) for s in sets], ddof=1)
    names = [str(i) for i in range(250)]
    told = [
        resampled_distances(s, names, reference, resamples=60, seed=0).std(ddof=1) for s in sets[:5]
    ]
    assert np.mean(told) == pytest.approx(truth, rel=0.35)
