"""Boards: which number stands in which column of which table.

There are three, and no number is in two of them: `official` and `mini` hold what was measured,
`reported` what others published. A column is one metric of one task under one protocol hash (for
reported numbers under the words that name the protocol), so what stands in one can be compared.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from statistics import median
from typing import Literal

from unimm_eval.leaderboard.ranks import places, rank_intervals, win_rate
from unimm_eval.report.numbers import decimals_for

Kind = Literal["official", "mini", "reported"]
TITLES: Mapping[Kind, str] = {
    "official": "Official",
    "mini": "Mini",
    "reported": "Reported",
}
MAX_DECIMALS = 4
CHILD_MARK = "†"
"""Behind a number of a finetuned child, whose name stands with the model's."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number as it was recorded; `interval` is its 95% interval. `by_child`: a finetuned child
    answered for the model."""

    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    unscored: int = 0
    chance: float | None = None
    source: str = ""
    by_child: bool = False


@dataclass(frozen=True, kw_only=True)
class ColumnName:
    """What must be equal for two numbers to share a column; `protocol` is its hash."""

    task: str
    metric: str
    protocol: str
    direction: Literal["higher", "lower"]
    unit: str = ""
    range: tuple[float | None, float | None] = (None, None)
    headline: bool = False

    @property
    def percent(self) -> bool:
        """Shares are shown times 100."""
        return self.range == (0.0, 1.0) and not self.unit


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model under one seed and one choice of settings. Text is safe to look at, not escaped."""

    id: str
    name: str
    note: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()
    active: float | None = None
    total: float | None = None
    flops: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number in its column: as shown (`shown`, `error`: percent where the column is), its place
    among the rows, and the interval of its rank."""

    number: Number
    shown: float
    error: float | None
    place: int
    rank: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column with its cells by row id."""

    key: str
    name: ColumnName
    area: str
    description: str = ""
    decimals: int
    cells: Mapping[str, Cell]

    @property
    def scale(self) -> float:
        return 100.0 if self.name.percent else 1.0


@dataclass(frozen=True, kw_only=True)
class Board:
    """A table: columns in order, rows in their default order, and who wins how often."""

    kind: Kind
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    wins: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return TITLES[self.kind]

    @property
    def headlines(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.name.headline)

    def groups(self) -> list[list[Column]]:
        """Columns by task and protocol, in order."""
        found: dict[tuple[str, str], list[Column]] = {}
        for column in self.columns:
            found.setdefault((column.name.task, column.name.protocol), []).append(column)
        return list(found.values())


def make_board(
    kind: Kind,
    numbers: Mapping[ColumnName, Mapping[str, Number]],
    rows: Iterable[Row],
    *,
    order: Sequence[ColumnName],
    areas: Mapping[str, str],
    descriptions: Mapping[tuple[str, str], str],
) -> Board:
    """The board of `numbers` (by column, then row id). Columns come in `order`; `areas` are by
    task, `descriptions` by (task, metric). Rows without a number are left away."""
    keys: Counter[str] = Counter()
    found = []
    for name in order:
        key = f"{name.task}@{name.protocol[:8]}/{name.metric}"
        keys[key] += 1
        found.append(
            _column(
                name,
                numbers[name],
                key=key if keys[key] == 1 else f"{key}~{keys[key]}",
                kind=kind,
                area=areas.get(name.task, "other"),
                description=descriptions.get((name.task, name.metric), ""),
            )
        )
    columns = tuple(found)
    present = {row_id for column in columns for row_id in column.cells}
    kept = [row for row in rows if row.id in present]
    wins = {} if kind == "reported" else _wins(columns, kept)
    if kind == "reported":
        covered = Counter(row_id for column in columns for row_id in column.cells)
        kept.sort(key=lambda row: (-covered[row.id], row.name.lower(), row.id))
    else:
        kept.sort(key=lambda row: (-wins.get(row.id, -1.0), row.name.lower(), row.id))
    return Board(kind=kind, columns=columns, rows=tuple(kept), wins=wins)


def fixed(value: float, decimals: int) -> str:
    """`value` with so many decimals, halves away from zero, as the page's script rounds."""
    if abs(value) >= 1e15:
        return f"{value:.3e}"
    return str(Decimal(value).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP))


def _column(
    name: ColumnName,
    numbers: Mapping[str, Number],
    *,
    key: str,
    kind: Kind,
    area: str,
    description: str,
) -> Column:
    scale = 100.0 if name.percent else 1.0
    decimals = _decimals(name, list(numbers.values()), scale)
    higher = name.direction == "higher"
    shown = [round(scale * number.value, decimals + 1) for number in numbers.values()]
    ranks: Sequence[tuple[int, int] | None] = [None] * len(numbers)
    if kind != "reported":
        ranks = rank_intervals(
            [number.value for number in numbers.values()],
            [number.interval for number in numbers.values()],
            higher_is_better=higher,
        )
    cells = {
        row_id: Cell(
            number=number,
            shown=value,
            error=None
            if number.stderr is None or kind == "reported"
            else round(scale * number.stderr, decimals),
            place=place,
            rank=rank,
        )
        for (row_id, number), value, place, rank in zip(
            numbers.items(), shown, places(shown, higher_is_better=higher), ranks, strict=True
        )
    }
    return Column(
        key=key,
        name=name,
        area=area,
        description=description,
        decimals=decimals,
        cells=cells,
    )


def _decimals(name: ColumnName, numbers: Sequence[Number], scale: float) -> int:
    """One number of decimals for a column: what the errors of most rows justify."""
    if name.percent or name.unit == "%":
        return 1
    wanted = [
        decimals_for(scale * number.value, scale * number.stderr if number.stderr else None)
        for number in numbers
    ]
    return min(MAX_DECIMALS, round(median(wanted)))


def _wins(columns: Sequence[Column], rows: Sequence[Row]) -> dict[str, float]:
    """Win rate of each row over headline columns."""
    own: dict[str, list[tuple[int, int, int]]] = {row.id: [] for row in rows}
    for column in columns:
        if column.name.headline:
            shared = Counter(cell.place for cell in column.cells.values())
            for row_id, cell in column.cells.items():
                own[row_id].append((cell.place, shared[cell.place], len(column.cells)))
    rates = {row_id: win_rate(places) for row_id, places in own.items()}
    return {row_id: rate for row_id, rate in rates.items() if rate is not None}
