"""A board as the page's table: what the template draws, and the same for the page's script."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval.leaderboard.board import CHILD_MARK, Board, Cell, Column, Row, fixed
from unimm_eval.leaderboard.catalogue import AREA_ORDER
from unimm_eval.leaderboard.entries import compact
from unimm_eval.report.plain import one_line

FIRST_ROWS = 100
"""Rows of a board on the first page before anything is asked of it."""
SHADES = 8
_METRIC_LIMIT = 40


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A cell as it is drawn."""

    value: str
    small: str
    kind: str


def drawn(column: Column, row: Row) -> Drawn | None:
    """The cell of a row. `small` has its error, its rank where that is an interval, and the mark of
    a child's number."""
    cell = column.cells.get(row.id)
    if cell is None:
        return None
    small = []
    if cell.error is not None:
        small.append(f"±{fixed(cell.error, column.decimals)}")
    if cell.rank is not None and len(column.cells) > 1:
        small.append(
            f"#{cell.rank[0]}"
            if cell.rank[0] == cell.rank[1]
            else f"#{cell.rank[0]}–{cell.rank[1]}"
        )
    if cell.number.by_child:
        small.append(CHILD_MARK)
    return Drawn(
        value=fixed(cell.shown, column.decimals),
        small=" ".join(small),
        kind=" ".join(_kinds(column, cell)),
    )


def overview(board: Board) -> list[list[Column]]:
    """The columns shown first: the headline numbers, by group."""
    groups = [[column for column in group if column.name.headline] for group in board.groups()]
    return [group for group in groups if group]


def column_unit(column: Column) -> str:
    return "%" if column.name.percent else one_line(column.name.unit, limit=_METRIC_LIMIT)


def areas_of(board: Board) -> list[str]:
    present = {column.area for column in board.columns}
    return [area for area in AREA_ORDER if area in present]


def group_labels(board: Board, protocols: Mapping[str, str]) -> list[str]:
    """What tells the groups of one task apart: the source of reported numbers, else the first
    letters of the protocol's hash. Empty where a task has one group."""
    groups = [group[0].name for group in board.groups()]
    tasks = Counter(name.task for name in groups)
    labels = []
    for name in groups:
        source, _, _ = protocols.get(name.protocol, "").partition(":")
        label = one_line(source, limit=30) if board.kind == "reported" else name.protocol[:8]
        labels.append(label if tasks[name.task] > 1 else "")
    return labels


def group_key(group: Sequence[Column]) -> str:
    """Names a group of columns in the address of the page; no comma, which joins several."""
    name = group[0].name
    return one_line(f"{name.task}@{name.protocol[:8]}", limit=80).replace(",", " ")


def board_data(
    board: Board, *, labels: Sequence[str], href: Callable[[str], str]
) -> dict[str, Any]:
    """Everything the page's script needs to draw any view of the board. Cells are by column, in the
    order of the rows."""
    groups = board.groups()
    tasks = [group[0].name.task for group in groups]
    columns = []
    for index, group in enumerate(groups):
        for column in group:
            cells = [column.cells.get(row.id) for row in board.rows]
            columns.append(
                {
                    "key": one_line(column.key, limit=200),
                    "group": index,
                    "metric": one_line(column.name.metric, limit=_METRIC_LIMIT),
                    "title": column.description,
                    "unit": column_unit(column),
                    "lower": column.name.direction == "lower",
                    "headline": column.name.headline,
                    "area": column.area,
                    "decimals": column.decimals,
                    "values": [_short(cell.shown) if cell else None for cell in cells],
                    "errors": _sparse([cell.error if cell else None for cell in cells]),
                    "better": _sparse([_reach(cell, 0) for cell in cells]),
                    "worse": _sparse([_reach(cell, 1) for cell in cells]),
                    "unscored": {
                        str(place): cell.number.unscored
                        for place, cell in enumerate(cells)
                        if cell and cell.number.unscored
                    },
                    "marked": [
                        place for place, cell in enumerate(cells) if cell and cell.number.by_child
                    ],
                }
            )
    return {
        "kind": board.kind,
        "title": board.title,
        "measured": board.kind != "reported",
        "areas": areas_of(board),
        "groups": [
            {
                "key": group_key(group),
                "task": one_line(task, limit=60),
                "href": href(task),
                "protocol": label,
                "area": group[0].area,
            }
            for task, label, group in zip(tasks, labels, groups, strict=True)
        ],
        "columns": columns,
        "rows": [
            {
                "id": row.id,
                "name": row.name,
                "note": row.note,
                "kind": row.kind,
                "tags": list(row.tags),
                "size": compact(row.active or row.total),
                "count": row.active or row.total,
                "win": None if row.id not in board.wins else round(100 * board.wins[row.id], 2),
            }
            for row in board.rows
        ],
    }


def shade(place: int, total: int) -> int:
    """How dark a cell is: 0 for the last place to SHADES for the first."""
    if total < 2:
        return 0
    return int(SHADES * (total - place) / (total - 1) + 0.5)


def _kinds(column: Column, cell: Cell) -> list[str]:
    kinds = ["num", f"h{shade(cell.place, len(column.cells))}"]
    first = cell.rank[0] if cell.rank else cell.place
    if first == 1 and len(column.cells) > 1:
        kinds.append("top")
    if cell.number.unscored:
        kinds.append("part")
    return kinds


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


def _reach(cell: Cell | None, end: int) -> int | None:
    """How far the rank's interval reaches from the place, towards the best or the worst: small
    numbers, since the first page carries all of them."""
    return None if cell is None or cell.rank is None else abs(cell.rank[end] - cell.place)


def _sparse(values: Sequence[Any]) -> Sequence[Any] | None:
    """None for a column without any."""
    return values if any(value is not None for value in values) else None
