"""Which samples changed most between two runs, and how many changed for the better.

A sample is looked at by its first score value, the mean over its repeats; whether more of it is
better is told by the direction of the task's headline.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from unimm_eval.api import Exhibit, UserError, canonical_json
from unimm_eval.api.tasks import Direction
from unimm_eval.engine.pairs import Pair, Side

KEPT = 24
"""So many samples of a task are told of."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A sample whose score changed from `a` to `b`, which is the better one where `better`.

    `repeat` is the one of its outputs that changed most; `group`, `prompt` and what was said about
    it are the task's own words for its report.
    """

    sample: str
    repeat: int
    group: str
    prompt: str
    score: str
    a: float
    b: float
    better: bool
    said_a: str
    said_b: str


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many samples are better, worse and the same in B, by the score value `score`; and those
    that changed most, at most `KEPT` of them."""

    score: str
    better: int
    worse: int
    same: int
    most: tuple[Moved, ...]


def tally(pairs: Sequence[Pair], *, direction: Direction) -> Tally | None:
    """None for tasks whose scores have no values of their own."""
    name = next((name for a, _ in pairs for name in a.score.values), None)
    if name is None:
        return None
    by_sample: dict[str, list[Pair]] = defaultdict(list)
    for a, b in pairs:
        if name in a.score.values and name in b.score.values:
            by_sample[a.sample.id].append((a, b))
    changes = {
        sample: math.fsum(_step(pair, name) for pair in mine) / len(mine)
        for sample, mine in by_sample.items()
    }
    sign = 1.0 if direction == "higher" else -1.0
    better = sum(sign * change > 0 for change in changes.values())
    worse = sum(sign * change < 0 for change in changes.values())
    ranked = sorted(
        (sample for sample, change in changes.items() if change != 0),
        key=lambda sample: -abs(changes[sample]),
    )
    return Tally(
        score=name,
        better=better,
        worse=worse,
        same=len(changes) - better - worse,
        most=tuple(
            _moved(by_sample[sample], name, better=sign * changes[sample] > 0)
            for sample in ranked[:KEPT]
        ),
    )


def _step(pair: Pair, name: str) -> float:
    return pair[1].score.values[name] - pair[0].score.values[name]


def _moved(pairs: Sequence[Pair], name: str, *, better: bool) -> Moved:
    a, b = max(pairs, key=lambda pair: abs(_step(pair, name)))
    group, prompt, said_a, said_b = said(a, b)
    return Moved(
        sample=a.output.sample_id,
        repeat=a.output.repeat,
        group=group,
        prompt=prompt,
        score=name,
        a=math.fsum(first.score.values[name] for first, _ in pairs) / len(pairs),
        b=math.fsum(second.score.values[name] for _, second in pairs) / len(pairs),
        better=better,
        said_a=said_a,
        said_b=said_b,
    )


def said(a: Side, b: Side) -> tuple[str, str, str, str]:
    """(group, prompt, what A said, what B said), as the task shows them: the answer, or else the
    note and those facts in which the two differ."""
    first, second = exhibit_of(a), exhibit_of(b)
    if first is None or second is None:
        return "", "", canonical_json(dict(a.output.values)), canonical_json(dict(b.output.values))
    apart = [
        key
        for key in {**first.facts, **second.facts}
        if first.facts.get(key) != second.facts.get(key)
    ]
    texts = [
        exhibit.answer
        or "; ".join(
            filter(None, [exhibit.note, *(f"{key}: {exhibit.facts.get(key)}" for key in apart)])
        )
        for exhibit in (first, second)
    ]
    return first.group, first.prompt, texts[0], texts[1]


def exhibit_of(side: Side) -> Exhibit | None:
    """How the task shows an output; None where it does not, or what the sample was made of is
    gone."""
    try:
        return side.task.exhibit(side.sample, side.output, side.score)
    except UserError:
        return None
