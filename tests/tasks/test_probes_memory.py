"""Probing features that are larger than what a process may hold."""

import pytest

from bench.probes import memory


@pytest.mark.long
def test_three_gibibytes_of_features_are_probed_in_less_than_two():
    found = memory(3.0)
    assert found["features_gib"] >= 2.9
    assert found["peak_gib"] < 2.0
    assert found["accuracy_last_layer"] > 0.5
