"""The decision: a pure function of differences and margins.

With Δ the change of a task's headline in the direction that is better, m tasks and α = 5%:

* PASS: the one-sided 95% lower bound of Δ is above −margin: a change for the worse by the margin or
  more is ruled out. It may still be worse, by less; then that is said.
* FAIL: otherwise, if Δ is below 0 by a one-sided test whose p-values are adjusted over the m tasks
  by Holm's method: no more than 5% of gates without any task that is worse fail.
* INCONCLUSIVE: otherwise.
* UNRESOLVABLE: not FAIL, and the smallest change for the worse that the test would have found with
  80% probability, at α/m, is larger than the margin: more samples or a wider margin are needed,
  whatever came out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unimm_eval.api import EXIT_INCOMPLETE, EXIT_OK, EXIT_USER, EXIT_WORSE
from unimm_eval.engine.changes import MetricChange
from unimm_eval.stats.pairs import holm, probability_below

ALPHA = 0.05
POWER = 0.8

Verdict = Literal["pass", "fail", "inconclusive", "unresolvable"]
EXIT_CODES: Mapping[Verdict, int] = {
    "pass": EXIT_OK,
    "fail": EXIT_WORSE,
    "unresolvable": EXIT_USER,
    "inconclusive": EXIT_INCOMPLETE,
}
_GRAVEST: tuple[Verdict, ...] = ("fail", "unresolvable", "inconclusive", "pass")


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What is decided about one task.

    `gain` is Δ with its standard error, `least` its one-sided 95% lower bound, `p` the one-sided
    p-value of being no worse and `p_holm` the same over all tasks. `smallest_effect` is the change
    for the worse that would have been found with 80% probability.
    """

    verdict: Verdict
    reason: str
    gain: float | None = None
    stderr: float | None = None
    least: float | None = None
    p: float | None = None
    p_holm: float | None = None
    smallest_effect: float | None = None


def rule(changes: Mapping[str, MetricChange], margins: Mapping[str, float]) -> dict[str, Ruling]:
    """Decide about each task from its change, run − baseline, and its margin."""
    p_values = {
        task: probability_below(row.gain * row.change.value, row.change.spread, row.change.df)
        for task, row in changes.items()
        if row.change.spread is not None
    }
    adjusted = holm(p_values)
    return {
        task: _ruling(
            row,
            margins[task],
            p=p_values.get(task),
            p_holm=adjusted.get(task),
            tests=len(p_values),
        )
        for task, row in changes.items()
    }


def overall(rulings: Mapping[str, Ruling]) -> Verdict:
    """The gravest verdict; a gate without tasks is inconclusive."""
    found = {ruling.verdict for ruling in rulings.values()} or {"inconclusive"}
    return next(verdict for verdict in _GRAVEST if verdict in found)


def _ruling(
    row: MetricChange, margin: float, *, p: float | None, p_holm: float | None, tests: int
) -> Ruling:
    change, gain = row.change, row.gain * row.change.value + 0.0  # no −0
    bounds = change.bound(ALPHA)
    smallest = change.smallest_effect(alpha=ALPHA / max(1, tests), power=POWER)
    if bounds is None or smallest is None or p is None or p_holm is None:
        return Ruling(
            verdict="inconclusive",
            reason="the difference has no error: too few clusters, or a run that tells none",
            gain=gain,
        )
    least = (bounds[0] if row.gain > 0 else -bounds[1]) + 0.0
    verdict, reason = _decide(least=least, margin=margin, p=p, p_holm=p_holm, smallest=smallest)
    return Ruling(
        verdict=verdict,
        reason=reason,
        gain=gain,
        stderr=change.stderr,
        least=least,
        p=p,
        p_holm=p_holm,
        smallest_effect=smallest,
    )


def _decide(
    *, least: float, margin: float, p: float, p_holm: float, smallest: float
) -> tuple[Verdict, str]:
    passes = least > -margin
    if not passes and p_holm <= ALPHA:
        return "fail", "worse, and a change by the margin or more is not ruled out"
    if smallest > margin:
        return "unresolvable", (
            f"a change by the margin could not have been told apart from chance: it takes a margin "
            f"of {smallest:.2g}, or {(smallest / margin) ** 2:.1f} times the samples"
        )
    if passes:
        return "pass", "worse, but by less than the margin" if p <= ALPHA else "no worse"
    return "inconclusive", "it may be worse by the margin, and it may be no worse at all"
