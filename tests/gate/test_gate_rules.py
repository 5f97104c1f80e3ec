"""The decision, case by case, and as often wrong as it says: on simulated checkpoints."""

import math

import pytest

from bench.gate import SCENARIOS, TASKS, measure
from unimm_eval.engine.changes import MetricChange
from unimm_eval.gate.rules import ALPHA, POWER, Ruling, overall, rule
from unimm_eval.stats.pairs import change_of


def change(value, stderr, *, direction="higher", clusters=400):
    return MetricChange(
        metric="value",
        headline=True,
        direction=direction,
        unit="",
        a=0.5,
        b=0.5 + value,
        n=clusters,
        change=change_of(value, stderr=stderr, df=clusters - 1, clusters=clusters, paired=True),
    )


def ruled(margin=0.05, **changes):
    return rule(changes, dict.fromkeys(changes, margin))


@pytest.mark.parametrize(
    ("value", "stderr", "verdict"),
    [
        (0.0, 0.01, "pass"),
        (0.30, 0.01, "pass"),
        (-0.02, 0.01, "pass"),  # worse, but by less than the margin
        (-0.10, 0.01, "fail"),
        (-0.06, 0.015, "fail"),
        (-0.03, 0.02, "inconclusive"),
        (0.0, 0.1, "unresolvable"),
        (-0.9, 0.1, "fail"),  # what is as clear as this needs no power
    ],
)
def test_verdicts(value, stderr, verdict):
    assert ruled(task=change(value, stderr))["task"].verdict == verdict
    lower = ruled(task=change(-value, stderr, direction="lower"))["task"]
    assert lower.verdict == verdict
    assert lower.gain == pytest.approx(value)


def test_worse_within_the_margin_is_said():
    assert "by less than the margin" in ruled(task=change(-0.02, 0.01))["task"].reason
    assert ruled(task=change(0.0, 0.01))["task"].reason == "no worse"


def test_the_bound_is_on_the_worse_side_whatever_the_direction():
    up = ruled(task=change(0.01, 0.01))["task"]
    down = ruled(task=change(-0.01, 0.01, direction="lower"))["task"]
    assert up.least == pytest.approx(down.least)
    assert up.least == pytest.approx(0.01 - 1.6487 * 0.01, rel=1e-3)
    assert up.p == pytest.approx(down.p)


def test_many_tasks_make_each_harder_to_fail():
    alone = ruled(task=change(-0.042, 0.02))["task"]
    assert alone.p < ALPHA
    assert alone.verdict == "unresolvable" or alone.verdict == "fail"
    others = {f"other{index}": change(0.0, 0.001) for index in range(20)}
    among = ruled(task=change(-0.042, 0.02), **others)["task"]
    assert among.p == alone.p
    assert among.p_holm == pytest.approx(21 * alone.p)
    assert among.smallest_effect > alone.smallest_effect
    assert among.verdict != "fail"


def test_without_an_error_nothing_is_decided():
    ruling = ruled(task=change(-0.5, None))["task"]
    assert (ruling.verdict, ruling.gain) == ("inconclusive", -0.5)


def test_an_unresolvable_margin_says_what_it_takes():
    ruling = ruled(task=change(0.0, 0.04))["task"]
    assert ruling.smallest_effect == pytest.approx(0.04 * (1.6487 + 0.8425), rel=1e-3)
    times = (ruling.smallest_effect / 0.05) ** 2
    assert f"{times:.1f} times the samples" in ruling.reason


def test_the_gravest_verdict_is_the_gate_s():
    def all_of(*verdicts):
        return {
            f"t{index}": Ruling(verdict=verdict, reason="")
            for index, verdict in enumerate(verdicts)
        }

    assert overall(all_of("pass", "fail", "unresolvable")) == "fail"
    assert overall(all_of("pass", "unresolvable", "inconclusive")) == "unresolvable"
    assert overall(all_of("inconclusive", "pass")) == "inconclusive"
    assert overall(all_of("pass")) == "pass"
    assert overall({}) == "inconclusive"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_false_alarms_and_power_are_as_promised(scenario):
    """300 gates of five tasks a truth: a rate at its limit is exceeded by three standard errors of
    counting once in a thousand tests; `bench.gate` counts more."""
    rates = measure(scenario, count=(count := 300))
    assert TASKS == 5

    def slack(rate):
        return 3 * math.sqrt(rate * (1 - rate) / count)

    assert rates.false_alarms <= ALPHA + slack(ALPHA)
    assert rates.wrong_passes <= ALPHA + slack(ALPHA)
    assert rates.power >= POWER - slack(POWER)
