"""A radar of what models are good at."""

import math
from collections.abc import Sequence

from unimm_eval.leaderboard.board import Board, Column, Row
from unimm_eval.leaderboard.catalogue import AREA_ORDER
from unimm_eval.leaderboard.drawing import Plot, circle, line, path, picture, text
from unimm_eval.leaderboard.ranks import win_rate

MAX_AXES = 12


def radar_plot(board: Board, rows: Sequence[Row], *, title: str) -> Plot | None:
    """Win rates by area; by task where there are fewer than three areas. None below three axes."""
    axes = _radar_axes(board)
    shares = {row.id: [_wins_in(columns, row.id) for _, columns in axes] for row in rows}
    shown = [row for row in rows if any(share is not None for share in shares[row.id])]
    if len(axes) < 3 or not shown or not any(len(c.cells) > 1 for _, cs in axes for c in cs):
        return None
    (width, height), (left, down), reach = (480, 330), (240.0, 165.0), 120.0
    angles = [2 * math.pi * index / len(axes) - math.pi / 2 for index in range(len(axes))]

    def at(angle: float, share: float) -> tuple[float, float]:
        return (
            round(left + reach * share * math.cos(angle), 1),
            round(down + reach * share * math.sin(angle), 1),
        )

    parts = [
        path("web", [at(angle, ring) for angle in angles], closed=True)
        for ring in (0.25, 0.5, 0.75, 1.0)
    ]
    for angle, (name, _) in zip(angles, axes, strict=True):
        parts.append(line("web", left, down, *at(angle, 1.0)))
        x, y = at(angle, 1.13)
        side = math.cos(angle)
        anchor = "middle" if abs(side) < 0.3 else "start" if side > 0 else "end"
        parts.append(text("axis-name", x, y + 4 + 6 * math.sin(angle), name, anchor=anchor))
    for index, row in enumerate(shown):
        corners = [at(a, share or 0.0) for a, share in zip(angles, shares[row.id], strict=True)]
        parts.append(path(f"area s{index}", corners, closed=True))
        parts += [circle(f"dot s{index}", x, y, 3) for x, y in corners]
    words = "Share of the other models that a model is before, mean over headline numbers."
    return Plot(
        title=title,
        words=words,
        svg=picture("radar", width, height, title, parts),
        head=("model", *(name for name, _ in axes)),
        table=tuple(
            (row.name, *("" if s is None else f"{100 * s:.0f}%" for s in shares[row.id]))
            for row in shown
        ),
    )


def _radar_axes(board: Board) -> list[tuple[str, list[Column]]]:
    by_area = [
        (area, [column for column in board.headlines if column.area == area]) for area in AREA_ORDER
    ]
    by_area = [(area, columns) for area, columns in by_area if columns]
    if len(by_area) >= 3:
        return by_area
    return [(column.name.task, [column]) for column in board.headlines][:MAX_AXES]


def _wins_in(columns: Sequence[Column], row_id: str) -> float | None:
    own = []
    for column in columns:
        cell = column.cells.get(row_id)
        if cell is not None:
            shared = sum(other.place == cell.place for other in column.cells.values())
            own.append((cell.place, shared, len(column.cells)))
    return win_rate(own)
