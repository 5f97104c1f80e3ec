"""Records that cannot be used: left out, named with their place, and too many of them an error.

Nothing takes their place: a record that is found bad before training is not in any row, one that is
found bad when it is read leaves its part of the row empty.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unimm_eval.api import UserError

SKIPPED = "skipped.jsonl"
_FIRST = 1000
_SHOWN = 5


class BadRecord(ValueError):
    """A record that cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Skip:
    """A record that was left out: of which source, at `file:line` or `shard:member`, and why."""

    source: str
    place: str
    reason: str


class SkippedRecords:
    """`skipped.jsonl` of a run: a line for each record that was left out, once."""

    def __init__(self, folder: Path, *, share: float, sizes: Mapping[str, int]) -> None:
        """`sizes` are the records of each source, `share` of which are let pass."""
        self._path, self._share, self._sizes = folder / SKIPPED, share, sizes
        self._known: set[tuple[str, str]] = set()
        self._bad: dict[str, set[str]] = {name: set() for name in sizes}
        self._read: Counter[str] = Counter()
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    values = json.loads(line)
                except json.JSONDecodeError:  # the last line of a run that was killed
                    continue
                self._known.add((values["source"], values["place"]))

    def add(self, skips: Iterable[Skip]) -> None:
        """Log those that are not there yet."""
        new = {(skip.source, skip.place): skip for skip in skips}
        new = {key: skip for key, skip in new.items() if key not in self._known}
        if new:
            self._known.update(new)
            with open(self._path, "a", encoding="utf-8") as file:
                lines = [json.dumps(asdict(skip), ensure_ascii=False) for skip in new.values()]
                file.write("".join(f"{line}\n" for line in lines))

    def met(self, skips: Sequence[Skip], *, documents: Mapping[str, int]) -> None:
        """Log what was left out beside so many `documents` of each source.

        Raises UserError when more of the records that were read since this process began are bad
        than are let pass; judged by the first thousand at least, or by all of a smaller source.
        """
        self.add(skips)
        self._read.update(documents)
        for skip in skips:
            self._read[skip.source] += 1
            self._bad[skip.source].add(skip.place)
        for name in {skip.source for skip in skips}:
            looked_at = min(self._sizes[name], max(self._read[name], _FIRST))
            if (bad := len(self._bad[name])) > math.floor(self._share * looked_at):
                raise too_many(name, bad=bad, of=looked_at, share=self._share, log=self._path)


def check_share(source: str, skips: list[Skip], *, of: int, share: float) -> None:
    """Raises UserError when more than `share` of a source's records cannot be used, or none can."""
    if len(skips) > math.floor(share * of) or len(skips) == of:
        first = "".join(f"\n  {skip.place}: {skip.reason}" for skip in skips[:_SHOWN])
        more = f"\n  … and {len(skips) - _SHOWN:,} more" if len(skips) > _SHOWN else ""
        raise too_many(source, bad=len(skips), of=of, share=share, told=first + more)


def too_many(
    source: str, *, bad: int, of: int, share: float, told: str = "", log: Path | None = None
) -> UserError:
    """The error that more records than `share` cannot be used."""
    where = f"\nThey are named in {log}." if log is not None else ""
    return UserError(
        f"sources.{source}: {bad:,} of {of:,} records cannot be used, more than the "
        f"{math.floor(share * of):,} that are let pass (max_bad_records {share:g}){told}{where}",
        fix="Repair them, or let more pass with max_bad_records in the recipe.",
    )
