"""How documents are cut into windows, and windows into forward passes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from unimm_eval.adapters.windows import Window, passes, rolling_windows, sharing

PREFIX = -1


@st.composite
def cuts(draw):
    max_length = draw(st.integers(1, 12))
    overlap = draw(st.integers(0, max_length - 1))
    ids = list(range(draw(st.integers(0, 60))))
    return ids, max_length, overlap


@given(cuts())
def test_every_token_is_scored_once_after_what_stands_before_it(cut):
    ids, max_length, overlap = cut
    windows = rolling_windows(ids, prefix=PREFIX, max_length=max_length, overlap=overlap)
    assert [token for window in windows for token in window.scored] == ids
    text = [PREFIX, *ids]
    for window in windows:
        start = window.scored[0] + 1
        assert list(window.context) == text[start - len(window.context) : start]
        assert len(window.context) + len(window.scored) - 1 <= max_length
    for window in windows[1:]:
        assert len(window.context) >= overlap + 1
        assert len(window.context) + len(window.scored) - 1 == max_length
    for window in windows[1:-1]:  # none scores less than it could
        assert len(window.scored) == max_length - overlap


@given(cuts())
def test_the_windows_are_those_of_lm_eval(cut):
    ids, max_length, overlap = cut
    theirs = get_rolling_token_windows(
        ids, prefix_token=PREFIX, max_seq_len=max_length, context_len=overlap + 1
    )
    ours = rolling_windows(ids, prefix=PREFIX, max_length=max_length, overlap=overlap)
    assert [(w.context, w.scored) for w in ours] == [make_disjoint_window(w) for w in theirs]


@pytest.mark.parametrize(("max_length", "overlap"), [(0, 0), (4, 4), (4, 5), (4, -1)])
def test_windows_that_leave_nothing_to_score_are_refused(max_length, overlap):
    with pytest.raises(ValueError, match="nothing to score"):
        rolling_windows([1, 2, 3], prefix=PREFIX, max_length=max_length, overlap=overlap)


@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(1, 200),
    st.one_of(st.just(math.inf), st.integers(0, 60)),
)
def test_passes_hold_every_row_once_and_no_more_than_fits(lengths, tokens, spare):
    found = list(passes(lengths, tokens=tokens, spare=spare))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        assert rows
        longest = max(lengths[row] for row in rows)
        assert len(rows) == 1 or len(rows) * longest <= tokens
        assert sum(longest - lengths[row] for row in rows) <= spare


def test_contexts_are_shared_where_it_is_worth_it():
    long, short = list(range(50)), [0]
    windows = [
        *(Window(context=long, scored=[n]) for n in range(3)),
        Window(context=[*long, 1], scored=[1]),
        *(Window(context=short, scored=[1, 2, 3]) for _ in range(200)),
    ]
    groups, others = sharing(windows, least=100)
    assert groups == [[0, 1, 2]]
    assert others == list(range(3, len(windows)))
    assert sharing(windows, least=101) == ([], list(range(len(windows))))
