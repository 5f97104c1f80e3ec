"""DPG-Bench's files: what is read of them, and how each thing that can be wrong is told."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from dpgbench_files import (
    HEADER,
    PROMPTS,
    archive,
    as_files,
    pinned_card,
    rows_of,
    table,
)

from unimm_eval.api import UserError
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import task_entries
from unimm_eval.tasks.dpgbench.files import git_tree, read_prompts, read_questions
from unimm_eval.tasks.dpgbench.official import DPGBench

REAL = os.environ.get("UNIMM_EVAL_TEST_DATA")


def prompts_of(tmp_path, data, files=None):
    path = tmp_path / "prompts.tar.gz"
    path.write_bytes(data)
    files = as_files() if files is None else files
    return read_prompts(path, tree=git_tree(files), count=len(files))


def questions_of(tmp_path, data):
    path = tmp_path / "dpg_bench.csv"
    path.write_bytes(data)
    return read_questions(path)


def test_a_folder_s_id_is_git_s():
    # printf 'hello\n' > a.txt; git hash-object -t tree of a folder that holds it alone
    assert git_tree({"a.txt": b"hello\n"}) == "2e81171448eb9f2ee3821e3d447aa6b2fe3ddba1"
    assert git_tree({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize("folder", ["prompts", "ELLA-3c228f1/dpg_bench/prompts"])
def test_prompts_come_out_of_any_archive_that_holds_the_folder(tmp_path, folder):
    rows = [*as_files().items(), ("notes.md", b"not a prompt")]
    assert prompts_of(tmp_path, archive(rows, folder=folder)) == PROMPTS


def test_other_files_of_the_archive_are_not_looked_at(tmp_path):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        link = tarfile.TarInfo("prompts/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in ("prompts.txt", "prompts/0.txt", "other/1.txt"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"cup"))
    assert prompts_of(tmp_path, data.getvalue(), {"0.txt": b"cup"}) == {"0": "cup"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: [*rows, rows[0]], "prompt partiprompts7 is there twice"),
        (lambda rows: rows[1:], "2 prompts instead of 3"),
        (lambda rows: [(rows[0][0], b"another text"), *rows[1:]], "other prompts than the pinned"),
        (lambda rows: [*rows, ("9.txt", b"\xff\xfe")], "9.txt is not UTF-8: byte 0 is 0xff"),
        (lambda rows: [*rows, ("9.txt", b" \n")], "9.txt is empty"),
        (lambda rows: [*rows, ("9.txt", b"a" * 70_000)], "more than a prompt can be"),
    ],
)
def test_prompts_that_are_wrong_are_named(tmp_path, change, says):
    rows = list(as_files().items())
    files = {**as_files(), **({"9.txt": b""} if says.startswith("9") else {})}
    with pytest.raises(UserError, match=says):
        prompts_of(tmp_path, archive(change(rows)), files)


@pytest.mark.parametrize("size", [0, 10, 100])
def test_an_archive_that_is_not_whole_is_told(tmp_path, size):
    with pytest.raises(UserError, match="is not a whole") as caught:
        prompts_of(tmp_path, archive(as_files().items())[:size])
    assert "unimm-eval data fetch dpgbench" in caught.value.fix


def test_questions_come_with_their_place_parents_and_category(tmp_path):
    found = questions_of(tmp_path, table())
    assert list(found) == list(PROMPTS)
    assert found["partiprompts7"][3] == {
        "id": 4,
        "row": 3,
        "parents": [1, 3],
        "category": "relation - spatial",
        "question": "Is the dog beside the hat?",
    }
    assert [q["row"] for q in found["0"]] == [4, 5]
    assert found["partiprompts3"][0]["category"] == "global -"


def test_a_byte_order_mark_blank_lines_and_line_breaks_in_cells_are_read(tmp_path):
    rows = rows_of()
    rows[0] = (rows[0][0], 'a "quoted"\nprompt', *rows[0][2:])
    data = b"\xef\xbb\xbf" + table(rows).replace(b"\r\n0,", b"\r\n\r\n0,")
    assert [len(mine) for mine in questions_of(tmp_path, data).values()] == [4, 2, 3]


def changed(**cells):
    rows = [list(row) for row in rows_of()]
    for name, value in cells.items():
        rows[1][HEADER.index(name)] = value
    return table(rows)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (changed(item_id=" "), "line 3: no item_id"),
        (changed(question_natural_language=""), "line 3: no question"),
        (changed(proposition_id="one"), "line 3: proposition_id 'one' is not a number"),
        (changed(dependency=""), "line 3: dependency '' is not a number"),
        (changed(dependency="1,"), "line 3: dependency '' is not a number"),
        (changed(dependency="-1"), "line 3: dependency '-1' is not a number"),
        (table([*rows_of(), ("0", "short")]), "line 11: 2 cells instead of 9"),
        (table(header=("id", *HEADER[1:])), "has no column item_id"),
        (table().replace(b"hat", b"\xff\xfe"), "is not UTF-8"),
        (b"", "is empty"),
        (table().replace(b"Two", b'"' + b"x" * 200_000), "is not CSV"),
    ],
)
def test_rows_that_are_wrong_are_told_with_their_line(tmp_path, data, says):
    with pytest.raises(UserError, match=says) as caught:
        questions_of(tmp_path, data)
    assert "dpg_bench.csv" in caught.value.what


def test_all_rows_that_are_wrong_are_told_at_once(tmp_path):
    rows = [(*row[:3], "x", *row[4:]) for row in rows_of()] * 2
    with pytest.raises(UserError, match="and 8 more") as caught:
        questions_of(tmp_path, table(rows))
    assert caught.value.what.count("\nline ") == 10


def test_missing_files_are_told_at_once_with_the_command_that_gets_them(tmp_path):
    task = make_task(task_entries()["dpgbench"], {}, tmp_path)
    with pytest.raises(UserError) as caught:
        task.check()
    assert "prompts.tar.gz is missing" in caught.value.what
    assert "dpg_bench.csv is missing" in caught.value.what
    assert "unimm-eval data fetch dpgbench" in caught.value.fix
    assert "git blob 98457fc9901943f51ff9a30367250fc292533bed" in caught.value.fix


def test_samples_take_turns_between_sources_and_hold_their_questions(tmp_path):
    card = pinned_card(tmp_path)
    task = DPGBench(card, DPGBench.Config(), data_dir=tmp_path)
    task.check()
    samples = list(task.samples())
    assert [s.inputs["key"] for s in samples] == ["0", "partiprompts3", "partiprompts7"]
    assert [len(s.inputs["questions"]) for s in samples] == [2, 3, 4]
    assert {(s.cluster == s.inputs["key"], s.repeats) for s in samples} == {(True, 4)}


@pytest.mark.skipif(REAL is None, reason="UNIMM_EVAL_TEST_DATA names no folder of real files")
def test_the_real_prompts():
    card = task_entries()["dpgbench"].card
    path = Path(str(REAL)) / "dpgbench" / "prompts.tar.gz"
    tree, count = card.data["prompts_tree"], card.data["prompts"]
    prompts = read_prompts(path, tree=tree, count=count)
    assert len(prompts) == 1065
    sources = [key.rstrip("0123456789") for key in prompts]
    assert (sources.count("partiprompts"), sources.count(""), sources.count("localized")) == (
        324,
        299,
        22,
    )
    assert all(100 < len(text) < 1000 for text in prompts.values())
