"""A base and the child that was finetuned from it: one record that says who answered what."""

import json

import pytest
from checkpoints import tiny_checkpoint
from engine_fakes import Draw, DrawSet, FakeModel, Say

from unimm_eval import evaluate
from unimm_eval.api import ChildInfo, IncompleteError, RunRecord, UserError, load_record
from unimm_eval.engine.compare import compare_runs
from unimm_eval.engine.evaluate import dry_run
from unimm_eval.engine.lineage import lineage_of

BASE, MIDDLE, CHILD = "b" * 16, "d" * 16, "c" * 16


class SayAboutPictures(Say):
    about_pictures = True


class Finetuned(FakeModel):
    """A model that names its parents."""

    def __init__(self, *parents, fingerprint=CHILD):
        super().__init__("child", fingerprint)
        self.parents = parents

    def describe(self):
        parent, *ancestors = self.parents or (None,)
        return {"training": {"parent": parent, "ancestors": ancestors}}


def tasks():
    return [Say("say"), SayAboutPictures("vqa"), Draw("draw"), DrawSet("set")]


def run(folder, child, *, chosen=None, **options):
    return evaluate(
        FakeModel("base", BASE),
        chosen or tasks(),
        vqa_model=child,
        batch_size=3,
        output=folder,
        **options,
    )


def stable(record):
    return record.model_dump(exclude={"volatile"})


def test_questions_about_pictures_go_to_the_child_and_all_else_to_the_base(tmp_path):
    base, child = FakeModel("base", BASE), Finetuned(BASE)
    record = evaluate(base, tasks(), vqa_model=child, batch_size=3, output=tmp_path / "both")
    assert (record.model.fingerprint, record.vqa_model.fingerprint) == (BASE, CHILD)
    assert record.vqa_model.parents == (BASE,)
    assert {row.task: row.answered_by for row in record.results} == {
        "say": "",
        "vqa": CHILD,
        "draw": "",
        "set": "",
    }
    assert len(child.batches) == 4
    assert len(base.batches) == 4 + 7 + 7
    alone = evaluate(child, [SayAboutPictures("vqa")], batch_size=3, output=tmp_path / "child")
    assert record.get("vqa").value == alone.get("vqa").value
    assert record.run.tasks["vqa"]["protocol_hash"] == alone.run.tasks["vqa"]["protocol_hash"]
    assert load_record(tmp_path / "both") == record


def test_a_run_without_a_child_says_nothing_of_one(tmp_path):
    record = evaluate(FakeModel(), [Say("say")], output=tmp_path / "run")
    text = (tmp_path / "run" / "results.json").read_text()
    assert "vqa_model" not in text
    assert "answered_by" not in text
    assert record.vqa_model is None


def test_a_chain_of_finetunings_leads_to_the_base(tmp_path):
    record = run(tmp_path / "run", Finetuned(MIDDLE, BASE))
    assert record.vqa_model.parents == (MIDDLE, BASE)


@pytest.mark.parametrize(
    ("child", "why"),
    [
        (Finetuned("e" * 16), f"finetuned from {'e' * 16}, and the model is {BASE}"),
        (Finetuned(), "names no parent"),
        (Finetuned(fingerprint=BASE), "is the model itself"),
    ],
)
def test_a_child_of_another_model_is_refused_by_name(tmp_path, child, why):
    with pytest.raises(UserError, match=why):
        run(tmp_path / "run", child)
    assert not (tmp_path / "run").exists()
    assert child.batches == []


def test_a_reason_admits_a_child_that_cannot_tell_and_stands_in_the_record(tmp_path):
    record = run(tmp_path / "run", Finetuned(), vqa_because="finetuned by another program")
    assert record.vqa_model.because == "finetuned by another program"
    with pytest.raises(UserError, match="vqa-because is given without"):
        evaluate(FakeModel(), [Say("say")], vqa_because="why not", output=tmp_path / "alone")


def test_a_child_that_nothing_asks_is_refused(tmp_path):
    with pytest.raises(UserError, match="no task asks about pictures"):
        run(tmp_path / "run", Finetuned(BASE), chosen=[Say("say")])


class Stops(Finetuned):
    """Is stopped at its third batch."""

    def _seen(self, requests):
        if len(self.batches) == 2:
            raise KeyboardInterrupt
        return super()._seen(requests)


def test_a_stopped_run_goes_on_and_other_children_keep_out(tmp_path):
    whole = run(tmp_path / "whole", Finetuned(BASE))
    with pytest.raises(IncompleteError):
        run(tmp_path / "run", Stops(BASE))
    again = Finetuned(BASE)
    assert stable(run(tmp_path / "run", again)) == stable(whole)
    assert len(again.batches) == 2
    with pytest.raises(UserError, match=r"(?s)another run.*vqa_model\.fingerprint"):
        run(tmp_path / "run", Finetuned(BASE, fingerprint="e" * 16))


def test_a_comparison_says_who_answered(tmp_path):
    evaluate(FakeModel("base", BASE), tasks(), batch_size=3, output=tmp_path / "a")
    run(tmp_path / "b", Finetuned(BASE))
    found = compare_runs(tmp_path / "a", tmp_path / "b", tasks=tasks())
    assert (found.a.vqa_model, found.b.vqa_model) == ("", "child")
    assert found.setup == ()
    moved = {task.task for task in found.tasks for row in task.metrics if row.change.value}
    assert moved == set()  # both fakes answer alike; the child's answers are kept under its own key


def test_a_record_names_no_model_that_it_does_not_know(tmp_path):
    record = run(tmp_path / "run", Finetuned(BASE))
    with pytest.raises(ValueError, match="no model of the run"):
        record.changed(vqa_model=None)
    other = ChildInfo(name="x", spec="x", fingerprint="e" * 16, parents=(BASE,))
    with pytest.raises(ValueError, match="no model of the run"):
        record.changed(vqa_model=other)
    assert RunRecord.model_validate(json.loads(record.model_dump_json())) == record


def test_checkpoints_tell_their_parents_before_they_are_loaded(tmp_path):
    base = tiny_checkpoint(tmp_path / "base")
    child = tiny_checkpoint(tmp_path / "child", seed=1)
    fingerprint = lineage_of(str(base)).fingerprint
    with pytest.raises(UserError, match="names no parent"):
        dry_run(str(base), "vqa16:mini", vqa_model=str(child), limit=16)
    training = child / "training.json"
    training.write_text(json.dumps({"parent": MIDDLE, "ancestors": [fingerprint]}))
    estimates = dry_run(str(base), "vqa16:mini,cc12m:mini", vqa_model=str(child), limit=16)
    assert {entry.task: entry.model for entry in estimates} == {
        "vqa16:mini": str(child),
        "cc12m:mini": str(base),
    }
