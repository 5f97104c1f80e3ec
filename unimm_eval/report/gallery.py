"""Which outputs a report shows, and how: wrong answers first, every group represented.

A run may have tens of thousands of outputs; a page shows a bounded choice of them and counts the
rest. Memory is bounded by the choice, not by the run.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Literal

from unimm_eval.api import Exhibit
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.pictures import Embedded, embed
from unimm_eval.report.plain import visible

Verdict = Literal["wrong", "unscored", "shown", "right"]
VERDICTS: tuple[Verdict, ...] = ("wrong", "unscored", "shown", "right")
SHARES: Mapping[Verdict, float] = {"wrong": 0.6, "unscored": 0.1, "shown": 0.7, "right": 0.3}
TEXT_LIMIT = 1200

_Row = tuple[Exhibit, str | None]
"""An exhibit, and why it is unscored or None."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One output on the page; all text is already safe to look at, though not yet escaped."""

    group: str
    verdict: Verdict
    prompt: str
    answer: str
    expected: str
    note: str
    pictures: tuple[Embedded, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The chosen entries, and how many outputs there were by verdict and in all."""

    entries: tuple[Entry, ...] = ()
    counts: Mapping[Verdict, int] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def judged(self) -> bool:
        return any(verdict != "shown" for verdict in self.counts)

    @property
    def left_out(self) -> int:
        return self.total - len(self.entries)


def choose(exhibits: Iterable[_Row], *, max_entries: int, max_bytes: int) -> Gallery:
    """Choose from exhibits, each with the reason why it is unscored or None, at most `max_entries`
    with at most `max_bytes` of pictures."""
    counts: dict[Verdict, int] = {}
    kept: dict[Verdict, dict[str, list[_Row]]] = {}
    groups: dict[str, None] = {}
    for exhibit, unscored in exhibits:
        verdict = _verdict(exhibit, unscored)
        counts[verdict] = counts.get(verdict, 0) + 1
        groups.setdefault(exhibit.group)
        bucket = kept.setdefault(verdict, {}).setdefault(exhibit.group, [])
        if len(bucket) < max_entries:
            bucket.append((exhibit, unscored))

    entries = []
    spent = 0
    for verdict, exhibit, unscored in _ordered(kept, max_entries=max_entries):
        entry = _entry(exhibit, verdict=verdict, unscored=unscored)
        spent += sum(picture.size for picture in entry.pictures)
        if spent > max_bytes:
            break
        entries.append(entry)
    return Gallery(
        entries=tuple(entries), counts=counts, groups=tuple(visible(name) for name in groups)
    )


def _verdict(exhibit: Exhibit, unscored: str | None) -> Verdict:
    if unscored is not None:
        return "unscored"
    if exhibit.correct is None:
        return "shown"
    return "right" if exhibit.correct else "wrong"


def _ordered(
    kept: Mapping[Verdict, Mapping[str, list[_Row]]], *, max_entries: int
) -> Iterator[tuple[Verdict, Exhibit, str | None]]:
    """Each verdict gets its share of the places, then what the others left free."""
    waiting = {verdict: list(_in_turns(kept.get(verdict, {}).values())) for verdict in VERDICTS}
    places = {
        verdict: min(len(rows), int(SHARES[verdict] * max_entries))
        for verdict, rows in waiting.items()
    }
    free = max_entries - sum(places.values())
    for verdict in VERDICTS:
        more = max(0, min(len(waiting[verdict]) - places[verdict], free))
        places[verdict] += more
        free -= more
    rows = [(verdict, *row) for verdict in VERDICTS for row in waiting[verdict][: places[verdict]]]
    yield from rows[:max_entries]


def _in_turns(lists: Iterable[list[_Row]]) -> Iterator[_Row]:
    return (row for row in chain.from_iterable(zip_longest(*lists)) if row is not None)


def _entry(exhibit: Exhibit, *, verdict: Verdict, unscored: str | None) -> Entry:
    note = exhibit.note if unscored is None else f"{exhibit.note}\n{unscored}".strip()
    return Entry(
        group=visible(exhibit.group),
        verdict=verdict,
        prompt=visible(exhibit.prompt, limit=TEXT_LIMIT),
        answer=visible(exhibit.answer, limit=TEXT_LIMIT),
        expected=visible(exhibit.expected, limit=TEXT_LIMIT),
        note=visible(note, limit=TEXT_LIMIT),
        pictures=tuple(embed(name, picture) for name, picture in exhibit.shown.items()),
        facts=tuple(
            (
                visible(str(key)),
                plain_number(value)
                if isinstance(value, float)
                else visible(str(value), limit=TEXT_LIMIT),
            )
            for key, value in exhibit.facts.items()
        ),
    )
