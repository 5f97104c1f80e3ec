"""Arrays of outputs: a row each in files, which counts once its output is committed."""

import numpy as np
import pytest
from engine_fakes import FakeModel, FakeTask

from unimm_eval import evaluate
from unimm_eval.api import ArrayRow, DefectError, Metric, Output, Score, UserError, load_rows
from unimm_eval.engine.array_files import ArrayFiles
from unimm_eval.engine.store import Store


def output(sample, value, *, name="features", dtype=np.float16, shape=(2, 3), **changes):
    array = np.full(shape, value, dtype)
    return Output(sample_id=sample, arrays={name: ArrayRow(array=array)}, **changes)


def add(store, *outputs):
    store.add_outputs("task:a/b", [("key", each) for each in outputs])


def test_arrays_come_back_as_they_were(tmp_path):
    first = output("a", 1)
    both = Output(
        sample_id="b",
        repeat=1,
        values={"x": 1},
        arrays={"features": output("b", 2).arrays["features"], "ids": ArrayRow(array=np.arange(4))},
    )
    with Store(tmp_path) as store:
        add(store, first, both, Output(sample_id="c", error="none"))
        add(store, output("d", 4))
    with Store(tmp_path, readonly=True) as store:
        found = store.outputs("task:a/b")
        for made in (first, both, output("d", 4)):
            there = found[made.sample_id, made.repeat]
            assert there.arrays.keys() == made.arrays.keys()
            for name, row in made.arrays.items():
                np.testing.assert_array_equal(there.arrays[name].load(), row.array)
                assert there.arrays[name].load().dtype == row.array.dtype
        assert found["c", 0].arrays == {}
        rows = [found[key].arrays["features"] for key in (("d", 0), ("a", 0))]
    np.testing.assert_array_equal(load_rows(rows)[:, 0, 0], [4, 1])
    np.testing.assert_array_equal(load_rows(rows, part=slice(0, 1)), [[[4] * 3], [[1] * 3]])
    np.testing.assert_array_equal(load_rows(rows, part=slice(1, 9)), [[[4] * 3], [[1] * 3]])
    assert load_rows(rows, part=slice(2, 2)).shape == (2, 0, 3)
    file = tmp_path / "arrays" / "task:a_b" / "features.npy"
    assert np.load(file).shape == (3, 2, 3)


def test_an_output_that_is_there_keeps_its_array(tmp_path):
    with Store(tmp_path) as store:
        add(store, output("a", 1))
        add(store, output("a", 2), output("b", 3))
        found = store.outputs("task:a/b")
        assert [found[key, 0].arrays["features"].load()[0, 0] for key in "ab"] == [1, 3]


def test_what_was_not_committed_is_written_over(tmp_path):
    """As after a kill between the file and the database."""
    with Store(tmp_path) as store:
        add(store, output("a", 1))
        ArrayFiles(store.arrays.folder).add(store._db, "task:a/b", [output("b", 9)] * 5)
        add(store, output("b", 2))
        found = store.outputs("task:a/b")
        assert [found[key, 0].arrays["features"].load()[0, 0] for key in "ab"] == [1, 2]
    assert np.load(tmp_path / "arrays" / "task:a_b" / "features.npy").shape == (2, 2, 3)


@pytest.mark.parametrize(
    "other",
    [
        output("b", 1, shape=(3, 2)),
        output("b", 1, dtype=np.float32),
        output("b", None, dtype=object, name="new"),
    ],
)
def test_rows_of_a_file_are_alike(tmp_path, other):
    with Store(tmp_path) as store:
        add(store, output("a", 1))
        with pytest.raises(ValueError, match="an array"):
            add(store, other)
        assert store.output_keys("task:a/b").keys() == {("a", 0)}


def test_a_copy_has_the_arrays(tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    with Store(tmp_path) as store:
        add(store, output("a", 1))
        store.copy_to(copy)
    with Store(copy) as store:
        row = store.outputs("task:a/b")["a", 0].arrays["features"]
        assert row.path.is_relative_to(copy)
        assert row.load()[0, 0] == 1


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_damaged_file_is_named(tmp_path, damage):
    with Store(tmp_path) as store:
        add(store, output("a", 1))
        row = store.outputs("task:a/b")["a", 0].arrays["features"]
    if damage == "gone":
        row.path.unlink()
    else:
        row.path.write_bytes(row.path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"features\.npy is damaged or not there"):
        row.load()


class Remember(FakeTask):
    """Each output is an array; judged all at once, by their mean."""

    scope = "set"

    def __init__(self, *, stop_after=None):
        super().__init__("remember")
        self.stop_after, self.asked = stop_after, []

    def produce(self, model, items, ctx):
        for item in items:
            self.asked.append(item.sample.id)
            if self.stop_after is not None and len(self.asked) > self.stop_after:
                raise RuntimeError("killed")
            value = np.full((4,), ctx.rng(item).random(), np.float32)
            yield Output(sample_id=item.sample.id, arrays={"it": ArrayRow(array=value)})

    def judge(self, samples, outputs):
        mean = float(load_rows([one.arrays["it"] for one in outputs]).mean())
        for one, found in zip(outputs, outputs, strict=True):
            value = abs(float(found.arrays["it"].load()[0]) - mean)
            yield Score(sample_id=one.sample_id, values={"value": value})

    def summarize(self, samples, scores):
        values = [score.values["value"] for score in scores]
        return [
            Metric(name=name, value=float(make(values)), n=len(values))
            for name, make in (("mean", np.mean), ("spread", np.std))
        ]


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(tmp_path):
    whole = evaluate(FakeModel(), [Remember()], batch_size=3, output=tmp_path / "whole")
    with pytest.raises(DefectError, match="killed"):
        evaluate(FakeModel(), [Remember(stop_after=7)], batch_size=3, output=tmp_path / "stopped")
    again = Remember()
    rest = evaluate(FakeModel(), [again], batch_size=3, output=tmp_path / "stopped")
    assert rest.results == whole.results
    samples = [sample.id for sample in again.samples()]
    assert again.asked == samples[6:]
