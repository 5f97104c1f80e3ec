"""Arrays of scores: kept with their score or not at all, and judged whole samples at a time."""

import sqlite3

import numpy as np
import pytest
from engine_fakes import Draw, FakeModel

from unimm_eval import evaluate
from unimm_eval.api import IncompleteError, Metric, Score
from unimm_eval.engine.store import FILE, Store


def scored(value, sample="a", **arrays):
    return Score(sample_id=sample, values={"value": value}, arrays=arrays)


def test_arrays_come_back_as_they_were(tmp_path):
    kept = {
        "features": np.arange(5, dtype=np.float32),
        "map": np.zeros((2, 3), np.int8),
    }
    with Store(tmp_path) as store:
        store.add_scores("task", "judge", [scored(1.0, **kept), scored(2.0, "b")])
        store.add_scores("task", "other", [scored(3.0, features=np.ones(1))])
    with Store(tmp_path, readonly=True) as store:
        found = store.scores("task", "judge")
        assert found["b", 0] == scored(2.0, "b")
        assert found["a", 0].arrays.keys() == kept.keys()
        for name, array in kept.items():
            np.testing.assert_array_equal(found["a", 0].arrays[name], array)
            assert found["a", 0].arrays[name].dtype == array.dtype
        with pytest.raises(KeyError):
            found["a", 0].arrays["nothing"]


def test_replaced_scores_take_their_arrays_with_them(tmp_path):
    with Store(tmp_path) as store:
        store.add_scores("task", "judge", [scored(1.0, features=np.ones(2))])
        store.add_scores("task", "judge", [scored(2.0)], replace=True)
        assert store.scores("task", "judge")["a", 0].arrays == {}


def test_a_score_and_its_array_are_there_together_or_not_at_all(tmp_path):
    wrong = scored(1.0, features=np.array([object()]))
    with Store(tmp_path) as store:
        with pytest.raises(ValueError, match="Object arrays"):
            store.add_scores("task", "judge", [scored(1.0, "b", features=np.ones(1)), wrong])
        assert store.scores("task", "judge") == {}


def test_a_store_of_before_there_were_arrays_is_read_and_gone_on_with(tmp_path):
    with Store(tmp_path) as store:
        store.add_scores("task", "judge", [scored(1.0)])
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("DROP TABLE arrays")
    database.close()
    with Store(tmp_path, readonly=True) as store:
        assert store.scores("task", "judge")["a", 0] == scored(1.0)
    with Store(tmp_path) as store:
        store.add_scores("task", "judge", [scored(2.0, "b", features=np.ones(1))])
        assert store.scores("task", "judge")["b", 0].arrays["features"] == 1


class DrawPairs(Draw):
    """Each picture by its distance from the other pictures of its sample; features are arrays."""

    scope = "repeats"

    def __init__(self, name, *, stop_after=None):
        super().__init__(name)
        self.stop_after = stop_after
        self.seen = []

    def judge(self, samples, outputs):
        self.seen += [(output.sample_id, output.repeat) for output in outputs]
        means = {}
        for output in outputs:
            picture = output.media["picture"].load().astype(np.float32)
            means.setdefault(output.sample_id, []).append(picture.mean((0, 1)))
        for number, output in enumerate(outputs):
            if number == self.stop_after:
                raise KeyboardInterrupt
            mine = means[output.sample_id]
            yield Score(
                sample_id=output.sample_id,
                repeat=output.repeat,
                values={"value": float(np.ptp(np.stack(mine)))},
                arrays={"mean": mine[output.repeat]},
            )

    def summarize(self, samples, scores):
        stacked = np.stack([score.arrays["mean"] for score in scores])
        mean = Metric(name="mean", value=float(stacked.mean()), n=len(scores))
        values = [score.values["value"] for score in scores]
        return [mean, Metric(name="spread", value=float(np.mean(values)), n=len(scores))]


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_a_sample_half_judged_is_judged_whole_again(tmp_path, stop_after):
    whole = evaluate(FakeModel(), [DrawPairs("pairs")], output=tmp_path / "whole")
    folder = tmp_path / "stopped"
    with pytest.raises(IncompleteError):
        evaluate(FakeModel(), [DrawPairs("pairs", stop_after=stop_after)], output=folder)
    again = DrawPairs("pairs")
    record = evaluate(FakeModel(), [again], output=folder)
    assert record.results == whole.results
    assert len(again.seen) == 20 - stop_after // 2 * 2
    assert all((sample, 1 - repeat) in again.seen for sample, repeat in again.seen)
