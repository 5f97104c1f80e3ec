"""From a model and tasks to a record: the public entry, with fakes for both."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from engine_fakes import Draw, DrawSet, FakeModel, Say

from unimm_eval import evaluate
from unimm_eval.api import (
    DefectError,
    IncompleteError,
    Output,
    Picture,
    PictureError,
    SampleError,
    Score,
    TaskConfig,
    UserError,
    load_record,
)
from unimm_eval.engine.evaluate import dry_run
from unimm_eval.engine.load import load_run
from unimm_eval.engine.progress import Silent


def all_tasks():
    return [Say("say"), Draw("draw"), DrawSet("set")]


def stable(record):
    return record.model_dump(exclude={"volatile"})


class Watcher(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.done = {}
        self.totals = {}
        self.finished = {}
        self.notes = []

    def note(self, message):
        self.notes.append(message)

    def phase(self, task, phase, *, total, done):
        self.totals[task, phase] = total
        self.done[task, phase] = done
        self.current = (task, phase)

    def advance(self, task, count):
        assert self.current[0] == task
        self.done[self.current] += count

    def task_finished(self, task, results):
        self.finished[task] = list(results)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_a_run_leaves_its_record(folder):
    record = evaluate(FakeModel(), all_tasks(), batch_size=3, output=folder)
    assert [(row.task, row.metric) for row in record.results] == [
        (task, metric) for task in ("say", "draw", "set") for metric in ("mean", "spread")
    ]
    row = record.get("draw")
    assert (row.n, row.mini, row.limited, row.headline) == (20, True, False, True)
    assert row.range == (0.0, 1.0)
    assert record.get("draw", "spread").direction == "lower"
    assert load_record(folder) == record
    assert load_record(folder / "results.json") == record
    assert record.run.tasks["say"]["samples"] == 10
    assert record.volatile["folder"] == str(folder)
    assert len(record.to_pandas()) == 6


def test_the_default_folder_is_named_by_the_plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = evaluate(FakeModel("org/name"), [Say("say")])
    again = evaluate(FakeModel("org/name"), [Say("say")])
    other = evaluate(FakeModel("org/name"), [Say("say")], seed=1)
    assert stable(first) == stable(again)
    assert first.run.name == f"org-name-{first.run.plan_hash}"
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert names == {first.run.name, other.run.name}


def test_a_finished_run_asks_the_model_nothing(folder):
    first = evaluate(FakeModel(), all_tasks(), batch_size=3, output=folder)
    model = FakeModel()
    assert stable(evaluate(model, all_tasks(), batch_size=3, output=folder)) == stable(first)
    assert model.batches == []


def test_outputs_are_the_same_whatever_else_is_run(tmp_path):
    alone = evaluate(FakeModel(), [Draw("draw")], batch_size=4, output=tmp_path / "a")
    among = evaluate(FakeModel(), all_tasks(), batch_size=4, output=tmp_path / "b")
    assert alone.results == tuple(row for row in among.results if row.task == "draw")


def test_progress_adds_up(folder):
    watcher = Watcher()
    record = evaluate(FakeModel(), all_tasks(), output=folder, progress=watcher)
    assert watcher.done == watcher.totals
    assert watcher.totals["draw", "produce"] == watcher.totals["draw", "judge"] == 20
    assert [row for rows in watcher.finished.values() for row in rows] == list(record.results)


class Crashes(FakeModel):
    """Raises at its n-th batch."""

    def __init__(self, at, error):
        super().__init__()
        self.at = at
        self.error = error

    def _seen(self, requests):
        seen = super()._seen(requests)
        if len(self.batches) == self.at:
            raise self.error
        return seen


def test_a_resumed_run_computes_the_batches_that_are_missing_whole(tmp_path):
    whole = FakeModel()
    expected = evaluate(whole, all_tasks(), batch_size=3, output=tmp_path / "whole")
    stopped = Crashes(6, KeyboardInterrupt())
    with pytest.raises(IncompleteError, match="Every finished batch is kept"):
        evaluate(stopped, all_tasks(), batch_size=3, output=tmp_path / "run")
    assert not (tmp_path / "run" / "results.json").exists()
    resumed = FakeModel()
    record = evaluate(resumed, all_tasks(), batch_size=3, output=tmp_path / "run")
    assert stopped.batches[:-1] + resumed.batches == whole.batches
    assert stable(record) == stable(expected)


def test_sigterm_stops_in_order(folder):
    class Terminated(Watcher):
        def advance(self, task, count):
            super().advance(task, count)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(IncompleteError) as caught:
        evaluate(FakeModel(), [Say("say")], output=folder, progress=Terminated())
    assert caught.value.exit_code == 3
    assert "same command continues" in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) is before
    evaluate(FakeModel(), [Say("say")], output=folder)


def test_a_defect_stops_its_task_alone(folder):
    watcher = Watcher()
    model = Crashes(2, RuntimeError("a wrong shape"))
    with pytest.raises(DefectError, match="Task say failed: RuntimeError: a wrong shape") as caught:
        evaluate(model, all_tasks(), batch_size=3, output=folder, progress=watcher)
    assert caught.value.exit_code == 4
    log = folder / "errors.log"
    assert str(log) in str(caught.value)
    assert "Traceback" in log.read_text()
    assert not watcher.finished["say"]
    assert watcher.finished["draw"]
    assert not (folder / "results.json").exists()
    again = FakeModel()
    evaluate(again, all_tasks(), batch_size=3, output=folder)
    assert len(again.batches) == 3


def test_what_the_user_must_change_in_one_task_is_told_after_the_others(folder):
    watcher = Watcher()
    model = Crashes(1, IncompleteError("the server is down", fix="start it"))
    with pytest.raises(IncompleteError, match="the server is down"):
        evaluate(model, all_tasks(), output=folder, progress=watcher)
    assert watcher.finished["set"]


class Small(FakeModel):
    """Has memory for so many requests at once."""

    def __init__(self, room, error):
        super().__init__()
        self.room = room
        self.error = error

    def generate_text(self, requests):
        if len(requests) > self.room:
            raise self.error
        return super().generate_text(requests)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory."), RuntimeError("can't allocate memory")],
)
def test_out_of_memory_halves_the_batches_and_the_plan_says_so(folder, error):
    watcher = Watcher()
    model = Small(2, error)
    record = evaluate(model, [Say("say")], batch_size=8, output=folder, progress=watcher)
    assert [len(batch) for batch in model.batches] == [2] * 5
    document = json.loads((folder / "run.json").read_text())
    assert document["plan"]["batches"]["say"] == [[2, 5]]
    assert record.volatile["batches"] == document["plan"]["batches"]
    assert any("batches of 2" in note for note in watcher.notes)


def test_a_resumed_run_keeps_the_halved_batches(tmp_path):
    whole = Small(2, MemoryError())
    expected = evaluate(whole, [Say("say")], batch_size=8, output=tmp_path / "whole")

    class Stops(Watcher):
        def advance(self, task, count):
            raise KeyboardInterrupt

    with pytest.raises(IncompleteError):
        evaluate(
            Small(2, MemoryError()),
            [Say("say")],
            batch_size=8,
            output=tmp_path / "run",
            progress=Stops(),
        )
    roomy = FakeModel()
    record = evaluate(roomy, [Say("say")], batch_size=8, output=tmp_path / "run")
    assert stable(record) == stable(expected)
    assert roomy.batches == whole.batches[1:]


def test_one_sample_that_does_not_fit_is_told(folder):
    with pytest.raises(IncompleteError, match="not even one sample"):
        evaluate(Small(0, MemoryError()), [Say("say")], output=folder)


class Judged(Say):
    """Its judge is down for some samples until `up`."""

    up = False

    def judge(self, samples, outputs):
        for sample, score in zip(samples, super().judge(samples, outputs), strict=True):
            if sample.inputs["number"] % 3 or self.up:
                yield score
            else:
                yield replace(score, values={}, unscored="the judge is down")


def test_unscored_is_counted_and_judged_again(tmp_path):
    expected = evaluate(FakeModel(), [Say("say")], output=tmp_path / "expected")
    folder = tmp_path / "run"
    record = evaluate(FakeModel(), [Judged("say")], output=folder)
    assert (record.get("say").n, record.get("say").unscored) == (6, 4)
    task = Judged("say")
    task.up = True
    model = FakeModel()
    assert stable(evaluate(model, [task], output=folder)) == stable(expected)
    assert model.batches == []


def test_nothing_scored_is_no_number(folder):
    class Never(Say):
        def judge(self, samples, outputs):
            for output in outputs:
                yield Score(sample_id=output.sample_id, values={"value": float("nan")})

    with pytest.raises(IncompleteError, match="none of 10 outputs could be scored: not a finite"):
        evaluate(FakeModel(), [Never("say")], output=folder)


@pytest.mark.parametrize(
    "problem", [PictureError("two.png: not a picture"), SampleError("two: needs 9 tokens")]
)
def test_a_sample_that_cannot_be_answered_costs_its_own_output(folder, problem):
    class Looks(Say):
        def produce(self, model, items, ctx):
            for item in items:
                if item.sample.inputs["number"] == 2:
                    raise problem
            yield from super().produce(model, items, ctx)

    record = evaluate(FakeModel(), [Looks("say")], batch_size=4, output=folder)
    assert (record.get("say").n, record.get("say").unscored) == (9, 1)
    loaded = load_run(folder, tasks=[Looks("say")]).tasks["say"]
    errors = {output.sample_id: output.error for output in loaded.outputs if output.error}
    assert errors == {loaded.samples[2].id: problem.what}
    assert loaded.scores[2].unscored == problem.what


def test_a_picture_of_the_model_that_does_not_decode_is_an_error_of_its_output(folder, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")

    class Files(Draw):
        def produce(self, model, items, ctx):
            for output in super().produce(model, items, ctx):
                media = {"picture": Picture(path=tmp_path / "bad.png")} if output.repeat else None
                yield replace(output, media=media) if media else output

    record = evaluate(FakeModel(), [Files("draw")], output=folder)
    assert (record.get("draw").n, record.get("draw").unscored) == (10, 10)


def misbehaving(produced=None, judged=None, metrics=None):
    class Bad(Say):
        def produce(self, model, items, ctx):
            found = list(super().produce(model, items, ctx))
            return iter(produced(found) if produced else found)

        def judge(self, samples, outputs):
            found = list(super().judge(samples, outputs))
            return iter(judged(found) if judged else found)

        def summarize(self, samples, scores):
            found = super().summarize(samples, scores)
            return metrics(found) if metrics else found

    return Bad("say")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (misbehaving(produced=lambda found: found[1:]), "when asked for"),
        (misbehaving(produced=lambda found: [*found, found[0]]), "when asked for"),
        (
            misbehaving(produced=lambda found: [replace(o, values={"x": {1}}) for o in found]),
            "not JSON serializable",
        ),
        (
            misbehaving(
                produced=lambda found: [
                    replace(o, media={"p": Picture(array=np.zeros((2, 2)))}) for o in found
                ]
            ),
            "not uint8",
        ),
        (misbehaving(judged=lambda found: found[1:]), "left 1 outputs without a score"),
        (misbehaving(judged=lambda found: [*found, found[0]]), "was not asked for"),
        (misbehaving(metrics=lambda found: found[1:]), "its card has"),
        (misbehaving(metrics=lambda found: [found[0], found[0]]), "its card has"),
        (
            misbehaving(metrics=lambda found: [replace(found[0], value=float("nan"))]),
            "be a finite number",
        ),
    ],
)
def test_a_task_that_breaks_its_contract_is_a_defect(folder, task, message):
    with pytest.raises(DefectError, match=message):
        evaluate(FakeModel(), [task, Draw("draw")], output=folder)


def test_every_problem_is_told_at_once_and_nothing_is_written(tmp_path):
    class Speechless:
        name = "speechless"
        fingerprint = "0"

        def describe(self):
            return {}

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        evaluate(
            Speechless(),
            [Say("say"), Draw("draw"), "gneval:mini"],
            limit=0,
            batch_size=0,
            dtype="float7",
            output=tmp_path / "file" / "run",
            settings={"sya": {"limit": 1}},
        )
    text = str(caught.value)
    assert "8 problems" in text
    assert "- --limit is 0.\n  → Use 1 or more, or leave it out.\n- --batch" in text
    for part in (
        "--limit is 0",
        "--batch-size is 0",
        "--dtype is float7",
        "cannot run say: it lacks GeneratesText",
        "cannot run draw: it lacks GeneratesImages",
        "'gneval:mini'",
        "settings for 'sya'",
        "is not a folder",
    ):
        assert part in text, part
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_task_and_no_model(tmp_path):
    with pytest.raises(UserError, match="No task is named"):
        evaluate(FakeModel(), [], output=tmp_path / "run")
    with pytest.raises(UserError, match="int is not a model"):
        evaluate(7, [Say("say")], output=tmp_path / "run")
    with pytest.raises(UserError, match="given twice"):
        evaluate(FakeModel(), [Say("say"), Say("say")], output=tmp_path / "run")


def test_a_task_without_samples_is_told_before_the_run(folder):
    class Empty(Say):
        def samples(self):
            return []

    with pytest.raises(UserError, match="Task say has no samples"):
        evaluate(FakeModel(), [Empty("say")], output=folder)
    assert not folder.exists()


def test_a_device_that_is_not_there(folder):
    with pytest.raises(UserError, match="Device 'cuda:99' cannot be used here"):
        evaluate(FakeModel(), [Say("say")], device="cuda:99", output=folder)


def test_dry_run_counts_and_writes_nothing(folder):
    say, draw = dry_run(FakeModel(), [Say("say"), Draw("draw")], batch_size=3, limit=4)
    assert (say.task, say.samples, say.outputs, say.batches) == ("say", 4, 4, 2)
    assert (draw.samples, draw.outputs, draw.batch_size, draw.batches) == (4, 8, 3, 3)
    assert not folder.exists()


def test_limited_is_said(folder):
    record = evaluate(FakeModel(), [Say("say", config=TaskConfig(limit=4))], output=folder)
    assert record.get("say").limited
    assert record.get("say").n == 4


def test_samples_are_a_table(folder):
    evaluate(FakeModel(), all_tasks(), output=folder)
    table = pq.read_table(folder / "samples" / "draw.parquet").to_pylist()
    assert len(table) == 20
    loaded = load_run(folder, tasks=all_tasks()).tasks["draw"]
    for row, sample, output, score in zip(
        table, loaded.samples, loaded.outputs, loaded.scores, strict=True
    ):
        assert (row["sample"], row["repeat"]) == (sample.id, output.repeat)
        assert json.loads(row["inputs"]) == sample.inputs
        assert row["cluster"] == sample.cluster
        assert row["score.value"] == score.values["value"]
        (name,) = json.loads(row["media"]).values()
        assert output.media["picture"].path == folder / "media" / name[:2] / name


def test_a_finished_run_is_read_back(folder):
    record = evaluate(FakeModel(), all_tasks(), output=folder)
    loaded = load_run(folder, tasks=all_tasks())
    assert loaded.record == record
    assert list(loaded.tasks) == ["say", "draw", "set"]
    draw = loaded.tasks["draw"]
    assert [sample.id for sample in draw.samples[::2]] == [s.id for s in Draw("draw").samples()]
    assert isinstance(draw.outputs[0], Output)
    assert draw.outputs[0].media["picture"].load().shape == (8, 8, 3)


def test_a_run_that_is_not_finished_is_not_read(folder):
    with pytest.raises(UserError, match="not the folder of a run"):
        load_run(folder)
    with pytest.raises(IncompleteError):
        evaluate(Crashes(1, KeyboardInterrupt()), [Say("say")], output=folder)
    with pytest.raises(UserError, match=r"results\.json cannot be read"):
        load_run(folder, tasks=[Say("say")])


def test_importing_the_package_imports_nothing_heavy():
    code = """
import sys
import unimm_eval
assert not {"numpy", "pydantic", "torch", "unimm_eval.api"} & set(sys.modules)
assert callable(unimm_eval.evaluate)
assert unimm_eval.RunRecord.__name__ == "RunRecord"
assert unimm_eval.__version__[0].isdigit()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
