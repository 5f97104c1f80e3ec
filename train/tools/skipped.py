"""Rows that cannot be used: each is named with its reason, and too many of them stop a tool."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from unimm_eval.api import UserError

_FIRST_ROWS = 1000
_SHOWN = 5


class Skipped:
    """The rows left out so far. More than `share` of those looked at, and it is an error."""

    def __init__(self, *, share: float) -> None:
        if not 0.0 <= share <= 1.0:
            raise UserError(f"max-skipped is {share}; it is a share of the rows, from 0 to 1.")
        self._share = share
        self._reasons: dict[str, str] = {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Reasons by place, in the order in which they were met."""
        return MappingProxyType(self._reasons)

    def add(self, place: str, reason: str) -> None:
        """Leave out the row at `place`; a place counts once."""
        self._reasons.setdefault(place, reason)

    def check(self, *, rows: int) -> None:
        """Raises UserError when too many of the `rows` looked at so far were left out."""
        allowed = math.floor(self._share * rows)
        if len(self._reasons) > allowed:
            raise UserError(
                f"{len(self._reasons):,} of {rows:,} rows cannot be used, more than the "
                f"{allowed:,} that are let pass\n{self.first()}",
                fix="Repair them, or let more pass with --max-skipped SHARE. What was answered is "
                "kept; the same command goes on.",
            )

    def check_early(self, *, rows: int, total: int) -> None:
        """`check` while a tool runs: judged by the first thousand rows at least, so that a bad
        beginning alone does not stop it."""
        self.check(rows=min(total, max(rows, _FIRST_ROWS)))

    def first(self) -> str:
        """The first few, one a line, and how many more there are."""
        items = list(self._reasons.items())
        lines = [f"  {place}: {reason}" for place, reason in items[:_SHOWN]]
        if len(items) > _SHOWN:
            lines.append(f"  … and {len(items) - _SHOWN:,} more")
        return "\n".join(lines)
