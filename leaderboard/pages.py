"""What the pages of boards, tasks and models say: from the catalogue to the templates."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

from unimm_eval.api import stable_hash
from unimm_eval.leaderboard.board import CHILD_MARK, Board, Column, Number, Row, fixed
from unimm_eval.leaderboard.catalogue import Catalogue
from unimm_eval.leaderboard.entries import ModelEntry, compact, safe, slug
from unimm_eval.leaderboard.tables import (
    FIRST_ROWS,
    Drawn,
    board_data,
    column_unit,
    drawn,
    group_key,
    group_labels,
    overview,
)
from unimm_eval.report.numbers import plain_number
from unimm_eval.report.plain import one_line, visible

VALUE_LIMIT = 400
MAX_FACTS = 100
FACT_DEPTH = 4
CHART_WIDTH, CHART_HEIGHT = 160, 22

Table = Sequence[tuple[str, str]]


def task_href(task: str) -> str:
    return f"tasks/{slug(task, identity=stable_hash(task, length=6))}.html"


def index_contents(catalogue: Catalogue) -> dict[str, Any]:
    boards = catalogue.boards
    numbers = {board.kind: sum(len(c.cells) for c in board.columns) for board in boards}
    reported = numbers.pop("reported", 0)
    labels = {board.kind: group_labels(board, catalogue.protocols) for board in boards}
    return {
        "boards": [_index_board(board, labels[board.kind]) for board in boards],
        "data": [board_data(board, labels=labels[board.kind], href=task_href) for board in boards],
        "counts": f"{counted(len(catalogue.models), 'model')} with "
        f"{counted(sum(numbers.values()), 'number')} measured here, "
        f"{counted(reported, 'number')} reported by others",
    }


def task_tables(catalogue: Catalogue, task: str) -> Iterator[dict[str, Any]]:
    """A table for each protocol that the task was measured, or reported, under."""
    for board in catalogue.boards:
        for group in board.groups():
            name = group[0].name
            if name.task == task:
                rows = [row for row in board.rows if any(row.id in c.cells for c in group)]
                yield {
                    "kind": board.kind,
                    "title": f"Protocol {name.protocol[:16]}",
                    "words": _protocol_words(catalogue, board, group),
                    "protocol": _protocol_card(catalogue, board, group),
                    "metrics": [(_metric(c), c.description) for c in group if c.description],
                    "columns": [_head(column) for column in group],
                    "rows": _task_rows(board, group, rows),
                }


def model_contents(catalogue: Catalogue, row: Row, model: ModelEntry | None) -> dict[str, Any]:
    """All but galleries, radars and citation. `model` is None for a row of reported numbers."""
    boards = []
    for board in catalogue.boards:
        groups = [_model_group(catalogue, board, group, row) for group in board.groups()]
        groups = [group for group in groups if group["numbers"]]
        if groups:
            boards.append({"kind": board.kind, "title": board.title, "groups": groups})
    entries = model.entries if model else ()
    return {
        "row": row,
        "facts": _model_facts(row, model),
        "boards": boards,
        "runs": [_run(entry.name, entry.record) for entry in entries],
        "about": flat(entries[0].record.model.facts) if entries else [],
    }


def flat(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested facts as (name, text) rows, as many and as deep as a page can bear."""
    return list(_flat(facts, "", FACT_DEPTH))[:MAX_FACTS]


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _index_board(board: Board, labels: Sequence[str]) -> dict[str, Any]:
    groups = overview(board)
    columns = [column for group in groups for column in group]
    named = {
        group_key(group): (len(group), label)
        for group, label in zip(board.groups(), labels, strict=True)
    }
    rows = board.rows[:FIRST_ROWS]
    wins = [round(100 * board.wins[row.id], 2) if row.id in board.wins else None for row in rows]
    return {
        "kind": board.kind,
        "title": board.title,
        "rows": board.rows,
        "overview": [
            {
                "key": group_key(group),
                "task": one_line(group[0].name.task, limit=60),
                "href": task_href(group[0].name.task),
                "protocol": named[group_key(group)][1],
                "area": group[0].area,
                "metrics": named[group_key(group)][0],
                "columns": [_head(column) for column in group],
            }
            for group in groups
        ],
        "first": [
            {
                "position": "" if win is None else str(1 + wins.index(win)),
                "id": row.id,
                "name": row.name,
                "note": row.note,
                "size": compact(row.active or row.total),
                "win": "" if win is None else fixed(win, 1),
                "cells": [drawn(column, row) for column in columns],
            }
            for row, win in zip(rows, wins, strict=True)
        ],
    }


def _task_rows(board: Board, group: Sequence[Column], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Best first by the first column."""
    first = group[0].cells
    last = len(board.rows) + 1
    ordered = sorted(rows, key=lambda row: first[row.id].place if row.id in first else last)
    return [
        {
            "position": str(first[row.id].place) if row.id in first else "",
            "id": row.id,
            "name": row.name,
            "note": row.note,
            "cells": [drawn(column, row) for column in group],
        }
        for row in ordered
    ]


def _model_group(
    catalogue: Catalogue, board: Board, group: Sequence[Column], row: Row
) -> dict[str, Any]:
    task = group[0].name.task
    card = catalogue.cards.get(task)
    return {
        "task": one_line(task, limit=60),
        "href": task_href(task),
        "words": one_line(card.title, limit=120)
        if card and board.kind != "reported"
        else catalogue.protocols.get(group[0].name.protocol, ""),
        "numbers": [
            _model_number(board, column, row) for column in group if row.id in column.cells
        ],
    }


def _model_number(board: Board, column: Column, row: Row) -> dict[str, Any]:
    cell, scale = column.cells[row.id], column.scale
    number = cell.number
    shown = drawn(column, row)
    assert isinstance(shown, Drawn)
    rank = str(cell.place)
    if cell.rank is not None and cell.rank[0] != cell.rank[1]:
        rank += f" ({cell.rank[0]}–{cell.rank[1]})"
    return {
        **_head(column),
        "arrow": "↓" if column.name.direction == "lower" else "↑",
        "headline": column.name.headline,
        "value": shown.value
        + ("" if cell.error is None else f" ± {fixed(cell.error, column.decimals)}")
        + (f" {CHILD_MARK}" if number.by_child else ""),
        "chart": interval_chart(column, number),
        "interval": ""
        if number.interval is None
        else " to ".join(fixed(scale * end, column.decimals) for end in number.interval),
        "rank": f"{rank} of {len(column.cells)}",
        "chance": "" if number.chance is None else plain_number(scale * number.chance),
        "n": "" if number.n is None else f"{number.n:,}",
        "unscored": number.unscored,
        "source": number.source,
    }


def interval_chart(column: Column, number: Number) -> Markup:
    """The value as a dot, its interval as a bar and chance as a tick on the metric's range; empty
    where the range has no end."""
    low, high = column.name.range
    if low is None or high is None or not high > low:
        return Markup("")
    middle, pad = CHART_HEIGHT // 2, 6

    def x(value: float) -> str:
        share = (min(max(value, low), high) - low) / (high - low)
        return f"{pad + share * (CHART_WIDTH - 2 * pad):.1f}"

    parts = [
        f'<line class="axis" x1="{pad}" y1="{middle}" x2="{CHART_WIDTH - pad}" y2="{middle}"/>'
    ]
    if number.chance is not None:
        at = x(number.chance)
        parts.append(f'<line class="chance" x1="{at}" y1="3" x2="{at}" y2="{CHART_HEIGHT - 3}"/>')
    if number.interval is not None:
        start, end = map(x, number.interval)
        parts.append(
            f'<line class="interval" x1="{start}" y1="{middle}" x2="{end}" y2="{middle}"/>'
        )
    parts.append(f'<circle class="value" cx="{x(number.value)}" cy="{middle}" r="4.5"/>')
    return Markup(
        f'<svg width="{CHART_WIDTH}" height="{CHART_HEIGHT}" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def _protocol_words(catalogue: Catalogue, board: Board, group: Sequence[Column]) -> str:
    name = group[0].name
    if board.kind == "reported":
        return catalogue.protocols[name.protocol]
    settings = _task_facts(catalogue, name.task, name.protocol)
    card = settings.get("card")
    if isinstance(card, Mapping):
        return safe(f"{card.get('protocol')}, version {card.get('version')}", 200)
    return ""


def _protocol_card(catalogue: Catalogue, board: Board, group: Sequence[Column]) -> Table:
    """What pins the numbers, as the first record under this hash has it."""
    name = group[0].name
    if board.kind == "reported":
        sources = {cell.number.source for column in group for cell in column.cells.values()}
        return [("source", source) for source in sorted(sources)]
    facts = _task_facts(catalogue, name.task, name.protocol)
    kept = {key: facts[key] for key in ("card", "set", "judge", "generation") if facts.get(key)}
    return [("hash", one_line(name.protocol, limit=80)), *flat(kept)]


def _task_facts(catalogue: Catalogue, task: str, protocol: str) -> Mapping[str, Any]:
    for model in catalogue.models:
        for entry in model.entries:
            facts = entry.record.run.tasks.get(task, {})
            if facts.get("protocol_hash") == protocol:
                return facts
    return {}


def _model_facts(row: Row, model: ModelEntry | None) -> list[tuple[str, str]]:
    facts = [("kind" if model else "source", row.kind)]
    if row.tags:
        facts.append(("design", ", ".join(row.tags)))
    sizes = (("active", row.active), ("parameters", row.total), ("training FLOPs", row.flops))
    facts += [(name, compact(size)) for name, size in sizes if size]
    if model:
        info = model.entries[0].record.model
        facts.append(("spec", safe(info.spec, 120)))
        facts.append(("fingerprint", safe(info.fingerprint)[:16]))
        children = (entry.record.vqa_model for entry in model.entries)
        if (child := next(filter(None, children), None)) is not None:
            facts.append((f"{CHILD_MARK} child", safe(child.name)))
            facts.append((f"{CHILD_MARK} fingerprint", safe(child.fingerprint)[:16]))
    return facts


def _run(name: str, record: Any) -> dict[str, Any]:
    volatile = record.volatile
    facts = [
        ("record", safe(name, 200)),
        ("digest", record.digest),
        ("seed", str(record.run.seed)),
        ("started", _moment(volatile.get("created"))),
        *flat(
            {key: volatile[key] for key in ("device", "versions", "hardware") if key in volatile}
        ),
    ]
    return {
        "name": safe(record.run.name, 120),
        "facts": [(key, value) for key, value in facts if value],
    }


def _moment(text: object) -> str:
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return ""


def _head(column: Column) -> dict[str, Any]:
    return {
        "key": one_line(column.key, limit=200),
        "metric": _metric(column),
        "title": column.description,
        "unit": column_unit(column),
        "lower": column.name.direction == "lower",
    }


def _metric(column: Column) -> str:
    return one_line(column.name.metric, limit=40)


def _flat(facts: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        name = f"{prefix}{one_line(str(key), limit=60)}"
        if isinstance(value, Mapping) and depth > 1:
            yield from _flat(value, f"{name} · ", depth - 1)
        elif isinstance(value, float):
            yield name, plain_number(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, f"{value:,}" if abs(value) < 10**30 else "a very large number"
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield name, visible(text, limit=VALUE_LIMIT)
