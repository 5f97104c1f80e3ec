"""Rank intervals hold true ranks as often as they promise; places and wins."""

import numpy as np
import pytest

from unimm_eval.leaderboard.ranks import places, rank_intervals, win_rate


def test_clear_differences_give_one_rank_and_unclear_ones_a_range() -> None:
    values = [0.9, 0.5, 0.49, 0.1]
    intervals = [(value - 0.03, value + 0.03) for value in values]
    assert rank_intervals(values, intervals, higher_is_better=True) == [
        (1, 1),
        (2, 3),
        (2, 3),
        (4, 4),
    ]
    assert rank_intervals(values, intervals, higher_is_better=False)[0] == (4, 4)


def test_a_row_without_an_interval_has_none_and_widens_the_others() -> None:
    ranks = rank_intervals([3.0, 2.0, 1.0], [(2.9, 3.1), None, (0.9, 1.1)], higher_is_better=True)
    assert ranks == [(1, 2), None, (2, 3)]
    assert rank_intervals([1.0], [(0.0, 2.0)], higher_is_better=True) == [(1, 1)]
    assert rank_intervals([], [], higher_is_better=True) == []


def test_one_sided_intervals_count_on_the_side_that_faces_the_other() -> None:
    """20 of 20 right: the value has no error above, and much below."""
    values = [1.0, 0.9]
    narrow = rank_intervals(values, [(0.84, 1.0), (0.88, 0.92)], higher_is_better=True)
    assert narrow == [(1, 2), (1, 2)]
    clear = rank_intervals(values, [(0.98, 1.0), (0.5, 0.92)], higher_is_better=True)
    assert clear == [(1, 1), (2, 2)]


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_the_interval_holds_the_true_rank_of_every_row_at_least_so_often(spread: float) -> None:
    """With equal true values every rank up to n is true; a row is wrong if it excludes its own."""
    rng = np.random.default_rng(7)
    models, rounds = 12, 300
    truth = spread * np.arange(models)[::-1]
    held = np.zeros(models)
    for _ in range(rounds):
        seen = truth + rng.normal(size=models)
        intervals = [(value - 1.96, value + 1.96) for value in seen]
        ranks = rank_intervals(seen.tolist(), intervals, higher_is_better=True)
        for index, rank in enumerate(ranks):
            best = 1 + int((truth > truth[index]).sum())
            worst = models - int((truth < truth[index]).sum())
            assert rank is not None
            held[index] += rank[0] <= best and worst <= rank[1]
    assert (held / rounds >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / rounds)).all()


def test_equal_values_share_the_better_place() -> None:
    assert places([0.5, 0.9, 0.5, 0.1], higher_is_better=True) == [2, 1, 2, 4]
    assert places([0.5, 0.9], higher_is_better=False) == [1, 2]


def test_win_rates_are_shares_of_the_others_and_ties_count_half() -> None:
    assert win_rate([(1, 1, 5)]) == 1.0
    assert win_rate([(5, 1, 5)]) == 0.0
    assert win_rate([(1, 2, 3)]) == 0.75
    assert win_rate([(1, 1, 2), (2, 1, 2)]) == 0.5
    assert win_rate([(1, 1, 1)]) is None
