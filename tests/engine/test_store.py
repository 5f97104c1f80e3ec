"""The store keeps what was committed, once, and lets one process in."""

import sqlite3

import numpy as np
import pytest

from unimm_eval.api import Output, Picture, Sample, Score, UserError
from unimm_eval.engine.store import FILE, Store


def picture(value: int) -> Picture:
    return Picture(array=np.full((4, 4, 3), value, dtype=np.uint8))


def test_outputs_come_back(tmp_path):
    outputs = [
        ("k0", Output(sample_id="a", values={"text": "é\ud800\0", "x": [0.1, None]})),
        ("k1", Output(sample_id="a", repeat=1, media={"one": picture(1), "two": picture(2)})),
        ("k2", Output(sample_id="b", error="no picture")),
    ]
    with Store(tmp_path) as store:
        store.add_outputs("task", outputs)
    with Store(tmp_path) as store:
        found = store.outputs("task")
        assert store.output_keys("task") == {("a", 0): "k0", ("a", 1): "k1", ("b", 0): "k2"}
        assert store.outputs("other") == {}
    assert found["a", 0] == outputs[0][1]
    assert found["b", 0] == outputs[2][1]
    for name, expected in outputs[1][1].media.items():
        loaded = found["a", 1].media[name]
        assert loaded.path is not None
        assert loaded.path.parent.parent == tmp_path / "media"
        np.testing.assert_array_equal(loaded.load(), expected.load())


def test_the_first_output_stays(tmp_path):
    with Store(tmp_path) as store:
        store.add_outputs("task", [("k", Output(sample_id="a", values={"x": 1}))])
        store.add_outputs("task", [("l", Output(sample_id="a", values={"x": 2}))])
        assert store.outputs("task")["a", 0].values == {"x": 1}


def test_equal_pictures_are_one_file(tmp_path):
    with Store(tmp_path) as store:
        outputs = [Output(sample_id=name, media={"p": picture(7)}) for name in "abc"]
        store.add_outputs("task", [(output.sample_id, output) for output in outputs])
    assert len(list(tmp_path.glob("media/??/*.png"))) == 1
    assert not list(tmp_path.glob("media/??/.*"))


def test_samples_keep_their_order(tmp_path):
    samples = [
        Sample(id=name, inputs={"q": name}, cluster="c", repeats=number)
        for number, name in enumerate("zay")
    ]
    with Store(tmp_path) as store:
        store.set_samples("task", samples)
        store.set_samples("task", samples)
        assert store.samples("task") == samples


def test_an_unscored_score_is_not_final(tmp_path):
    down = Score(sample_id="a", unscored="judge down")
    up = Score(sample_id="a", values={"x": 1.0}, payload={"why": ["so"]})
    late = Score(sample_id="a", values={"x": 0.0})
    with Store(tmp_path) as store:
        for score in (down, up, late, down):
            store.add_scores("task", "judge@1", [score])
        store.add_scores("task", "judge@2", [late])
        assert store.scores("task", "judge@1") == {("a", 0): up}
        assert store.scores("task", "judge@2") == {("a", 0): late}
        store.add_scores("task", "judge@1", [late], replace=True)
        assert store.scores("task", "judge@1") == {("a", 0): late}
        assert store.scores("task", "judge@2") == {("a", 0): late}


def test_a_batch_is_committed_whole_or_not_at_all(tmp_path):
    with Store(tmp_path) as store:
        rows = [("k", Output(sample_id="a")), ("k", Output(sample_id="b", values={"x": {1, 2}}))]
        with pytest.raises(TypeError):
            store.add_outputs("task", rows)
        assert store.outputs("task") == {}


def test_nobody_else_gets_in(tmp_path):
    with Store(tmp_path), pytest.raises(UserError, match="Another process is using"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_a_closed_store_is_read_without_being_touched(tmp_path):
    with Store(tmp_path) as store:
        store.add_outputs("task", [("k", Output(sample_id="a"))])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with Store(tmp_path, readonly=True) as store, Store(tmp_path, readonly=True) as other:
        assert store.outputs("task") == other.outputs("task") != {}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def filled(folder, rows=200):
    with Store(folder) as store:
        for number in range(rows):
            output = Output(sample_id=str(number), values={"text": "x" * 200})
            store.add_outputs("task", [(str(number), output)])
            store.add_scores("task", "judge", [Score(sample_id=str(number), values={"v": 1.0})])
    return folder / FILE


def test_what_is_no_store_is_named(tmp_path):
    path = filled(tmp_path)
    path.write_text("not a database" * 1000)
    with pytest.raises(UserError, match="is damaged") as caught:
        Store(tmp_path)
    assert f"rm {path}" in caught.value.fix


@pytest.mark.parametrize(("pages", "most"), [((5, 12), 399), ((1, 2), 400)])
def test_damaged_pages_are_left_behind_and_the_rest_is_kept(tmp_path, pages, most):
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    first, last = pages
    data[4096 * first : 4096 * last] = b"\xaa" * 4096 * (last - first)
    path.write_bytes(data)
    with Store(tmp_path) as store:
        (told,) = store.mended
        outputs, scores = store.outputs("task"), store.scores("task", "judge")
        assert 200 <= len(outputs) + len(scores) <= most
        assert all(output.values == {"text": "x" * 200} for output in outputs.values())
        # It is a store like any other: what is missing can be added.
        missing = [n for n in range(200) if (str(n), 0) not in outputs]
        store.add_outputs(
            "task",
            [(str(n), Output(sample_id=str(n), values={"text": "x" * 200})) for n in missing],
        )
        assert len(store.output_keys("task")) == 200
    assert "were read, the others are computed again" in told
    assert (tmp_path / f"{FILE}.damaged-1").read_bytes() == bytes(data)
    with Store(tmp_path) as store:
        assert not store.mended


def test_a_row_that_is_not_what_was_written_is_left_behind(tmp_path):
    path = filled(tmp_path)
    data = path.read_bytes()
    assert data.count(b"x" * 200) >= 200
    path.write_bytes(data.replace(b"x" * 200, b"y" + b"x" * 199, 1))
    with Store(tmp_path) as store:
        assert "1 rows are not what was written" in store.mended[0]
        assert len(store.outputs("task")) == 199
        assert len(store.scores("task", "judge")) == 200


def test_a_store_of_before_rows_had_digests_is_read(tmp_path):
    path = filled(tmp_path, rows=3)
    with sqlite3.connect(path) as database:
        for table in ("outputs", "scores"):
            database.execute(f"ALTER TABLE {table} DROP COLUMN digest")
    database.close()
    with Store(tmp_path) as store:
        assert not store.mended
        assert len(store.outputs("task")) == 3
        store.add_outputs("task", [("3", Output(sample_id="3"))])
    with Store(tmp_path, readonly=True) as store:
        assert len(store.outputs("task")) == 4


def test_a_store_of_another_version_is_refused(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(UserError, match="schema version 99"):
        Store(tmp_path)
