"""Which number stands where: what must never meet, never meets."""

from pathlib import Path

import pytest
from synthetic_records import facts_of, publish

from unimm_eval.api import Card, ReportedRow, load_record
from unimm_eval.engine.registry import task_entries
from unimm_eval.leaderboard.board import fixed
from unimm_eval.leaderboard.catalogue import Catalogue, make_catalogue
from unimm_eval.leaderboard.entries import Entry, compact, slug

GENEVAL = ("geneval", "geneval:mini")


def cards() -> dict[str, Card]:
    return {name: entry.card for name, entry in task_entries().items()}


def catalogue(results: Path, reported: tuple[ReportedRow, ...] = ()) -> Catalogue:
    entries = [
        Entry(name=str(path.relative_to(results)), path=path, record=load_record(path))
        for path in sorted(results.glob("*/*.json"))
    ]
    return make_catalogue(entries, reported, cards=cards())


def reported(protocol: str, value: float) -> ReportedRow:
    return ReportedRow(
        model="Emu",
        subject="model",
        parameters=8e9,
        task="geneval",
        metric="overall",
        value=value,
        printed=value,
        scale=1.0,
        direction="higher",
        unit="",
        range=(0.0, 1.0),
        protocol=protocol,
        source="somewhere",
        where="table 1",
        note="",
        url="https://example.org",
        revision="1",
        year=2025,
    )


def test_official_mini_and_reported_numbers_are_on_boards_of_their_own(tmp_path: Path) -> None:
    publish(tmp_path, "a", tasks=GENEVAL)
    found = catalogue(tmp_path, (reported("x", 0.5), reported("y", 0.6)))
    boards = {board.kind: board for board in found.boards}
    assert list(boards) == ["official", "mini", "reported"]
    assert {column.name.task for column in boards["official"].columns} == {"geneval"}
    assert {column.name.task for column in boards["mini"].columns} == {"geneval:mini"}
    shown = [column.cells for column in boards["reported"].columns]
    assert [len(cells) for cells in shown] == [1, 1]  # one column a protocol
    assert all(cell.rank is None for cells in shown for cell in cells.values())
    assert boards["reported"].wins == {}


def test_numbers_of_different_protocols_are_in_different_columns(tmp_path: Path) -> None:
    changed = cards()
    card = changed["geneval:mini"]
    changed["geneval:mini"] = card.model_copy(update={"version": card.version + 1})
    publish(tmp_path, "a")
    publish(tmp_path, "b")
    publish(tmp_path, "c", cards=changed)
    (board,) = catalogue(tmp_path).boards
    overall = [column for column in board.columns if column.name.metric == "overall"]
    assert [len(column.cells) for column in overall] == [2, 1]
    assert len({column.key for column in board.columns}) == len(board.columns)
    assert len(board.groups()) == 2


def test_runs_of_one_model_fill_one_row_until_a_task_comes_twice(tmp_path: Path) -> None:
    path = publish(tmp_path, "a", tasks=("geneval:mini",))
    first = load_record(path)
    other = load_record(publish(tmp_path, "b", tasks=("fid:mini",)))
    same = other.changed(model=first.model)
    entries = [
        Entry(name=name, path=path, record=record)
        for name, record in (("1", first), ("2", same), ("3", first))
    ]
    found = make_catalogue(entries, (), cards=cards())
    assert [len(model.entries) for model in found.models] == [2, 1]
    (board,) = found.boards
    assert len(board.rows) == 2
    assert len({row.id for row in board.rows}) == 2
    assert all("seed 0" in row.note for row in board.rows)  # equal names are told apart


def test_rows_are_ordered_by_wins_and_carry_what_is_known_of_their_size(tmp_path: Path) -> None:
    for name, skill in (("good", 0.9), ("bad", 0.1)):
        publish(tmp_path, name, tasks=GENEVAL, skill=skill, facts=facts_of(4e6, tokens=1e8))
    board = catalogue(tmp_path).boards[0]
    assert [row.name for row in board.rows] == ["good", "bad"]
    assert [board.wins[row.id] for row in board.rows] == [1.0, 0.0]
    assert (board.rows[0].active, board.rows[0].flops) == (4e6, 6 * 4e6 * 1e8)
    assert board.rows[0].tags == ("MoE", "x-pred")


def test_facts_of_the_wrong_kind_are_not_believed(tmp_path: Path) -> None:
    wrong = {"active_parameters": "many", "parameters": -1, "training": 7, "architecture": [1]}
    publish(tmp_path, "a", facts=wrong)
    (row,) = catalogue(tmp_path).boards[0].rows
    assert (row.active, row.total, row.flops, row.tags) == (None, None, None, ())


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(62.25, 1, "62.3"), (0.5, 0, "1"), (-2.5, 0, "-3"), (1234.5678, 2, "1234.57"), (0, 1, "0.0")],
)
def test_numbers_are_rounded_as_scripts_do(value: float, decimals: int, text: str) -> None:
    assert fixed(value, decimals) == text


def test_names_become_files_that_are_safe_everywhere() -> None:
    assert slug("../../Org/Näme 7B", identity="ab12") == "org-n-me-7b-ab12"
    assert slug("///", identity="ab12") == "ab12"
    assert [compact(value) for value in (None, 512, 8_893_632, 1.3e9, 2.1e21)] == [
        *("", "512", "8.89M", "1.3B", "2.1e21"),
    ]
