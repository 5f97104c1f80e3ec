"""Publishing: what gets into `results/`, what is refused, and what the check finds there."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm_eval import evaluate
from unimm_eval.api import (
    RunRecord,
    UserError,
    load_record,
    load_scores,
    record_folder,
    record_to_json,
    scores_file,
)
from unimm_eval.cli.main import app
from unimm_eval.records.check import check_results
from unimm_eval.records.layout import model_folder
from unimm_eval.records.publish import public_spec, publish

RESULTS = Path(__file__).parents[2] / "results"


def told(results):
    return [str(problem) for problem in check_results(results)]


def test_everything_that_is_published_passes_the_check():
    assert told(RESULTS) == []


def test_numbers_in_the_latents_of_an_encoder_are_published(tmp_path):
    evaluate("demo", "cc12m:mini", output=tmp_path / "run")
    file = publish(tmp_path / "run", results=tmp_path / "results")
    assert load_record(file).run.tasks["cc12m:mini"]["unit"]


def test_a_run_is_published_with_its_scores_and_pictures(run, tmp_path):
    file = publish(run, results=tmp_path / "results")
    record, before = load_record(file), load_record(run)
    assert file.relative_to(tmp_path / "results") == Path("fake", f"{record.run.name}.json")
    assert (record.results, record.scores) == (before.results, before.scores)
    rows = load_scores(file, "colours:mini")
    assert rows == load_scores(run, "colours:mini")
    pictures = [
        record_folder(file) / "media" / name[:2] / name
        for row in rows
        for name in row.media.values()
    ]
    assert pictures
    assert all(picture.is_file() for picture in pictures)
    assert told(tmp_path / "results") == []


def test_what_tells_about_the_machine_stays_at_home(run, tmp_path):
    private = str(tmp_path)
    file = publish(run, results=tmp_path / "results")
    text = file.read_text()
    assert private not in text
    volatile = load_record(file).volatile
    assert "host" not in volatile["hardware"]
    assert volatile["versions"] == load_record(run).volatile["versions"]


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("demo", "demo"),
        ("hf:org/name@rev", "hf:org/name@rev"),
        ("/home/somebody/model", "model"),
        ("../model", "model"),
        ("images:/home/somebody/pictures", "images:pictures"),
        ("openai:m@https://user:secret@host/v1", "openai:m@https://host/v1"),
        ("lmms:qwen?pretrained=a/b", "lmms:qwen?pretrained=a/b"),
    ],
)
def test_a_spec_loses_what_is_private(spec, shown):
    assert public_spec(spec) == shown


def test_publishing_twice_changes_nothing(run, tmp_path):
    first = publish(run, results=tmp_path / "results")
    before = {path: path.read_bytes() for path in first.parent.rglob("*") if path.is_file()}
    assert publish(run, results=tmp_path / "results") == first
    after = {path: path.read_bytes() for path in first.parent.rglob("*") if path.is_file()}
    assert before == after
    assert not (tmp_path / "results" / ".publishing").exists()


def test_a_dry_run_writes_nothing(run, tmp_path):
    publish(run, results=tmp_path / "results", dry_run=True)
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_a_model_may_be_called_otherwise_but_has_one_name(run, tmp_path):
    file = publish(run, results=tmp_path / "results", name="org/better")
    assert file.parent.name == "org__better"
    assert load_record(file).model.name == "org/better"
    with pytest.raises(UserError, match="called 'org/better' in org__better"):
        publish(run, results=tmp_path / "results")


@pytest.mark.parametrize("name", ["", "bench", "../../x", "a\nb", "x" * 200])
def test_hostile_names_lead_nowhere(run, tmp_path, name):
    results = tmp_path / "deep" / "results"
    folder = model_folder(name)
    assert folder not in ("", ".", "..", "bench", "train", "reported")
    assert "/" not in folder
    try:
        file = publish(run, results=results, name=name or None)
    except UserError:
        return
    assert file.parent.parent == results


def test_a_limited_run_is_refused(copy_of, tmp_path):
    with pytest.raises(UserError, match="measured with --limit"):
        publish(copy_of("limited"), results=tmp_path / "results")
    assert list((tmp_path / "results").rglob("*.json")) == []


def test_outputs_without_a_score_are_refused(copy_of, tmp_path):
    with pytest.raises(UserError, match="2 outputs have no score, 0 may"):
        publish(copy_of("echo"), results=tmp_path / "results")


def test_a_task_that_is_not_installed_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr("unimm_eval.records.check.task_entries", dict)
    with pytest.raises(UserError, match="colours:mini: there is no such task here"):
        publish(run, results=tmp_path / "results")


@pytest.fixture
def shelf(run, tmp_path):
    """A folder of results with one record."""
    file = publish(run, results=tmp_path / "results")
    return tmp_path / "results", file


def reseal(file, **changes):
    """Write a record anew with changed rows, as somebody would who knows the form."""
    record = load_record(file)
    rows = [row.model_copy(update=changes) for row in record.results]
    file.write_bytes(record_to_json(record.changed(results=tuple(rows))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mini": False}, "it is mini and says otherwise"),
        ({"value": 1.5, "interval": None}, "1.5 is not within 0.0 and 1.0"),
        ({"value": 0.0, "interval": (0.5, 0.9)}, "outside of its own interval"),
        ({"limited": True}, "measured with --limit"),
        ({"direction": "lower"}, "direction, unit or range"),
        ({"protocol_hash": "0" * 16}, "protocol hash is not that of its task"),
        ({"metric": "other"}, "no such metric"),
        ({"task": "geneval"}, "a task that the run does not have"),
        ({"headline": False}, "no headline number"),
        ({"n": 0}, "made of nothing"),
    ],
)
def test_numbers_that_are_not_what_they_say_are_found(shelf, changes, message):
    results, file = shelf
    reseal(file, **changes)
    assert any(message in line for line in told(results))


def run_changes(file, **changes):
    record = load_record(file)
    tasks = {name: dict(asked) | changes for name, asked in record.run.tasks.items()}
    run = record.run.model_copy(update={"tasks": tasks})
    file.write_bytes(record_to_json(record.changed(run=run)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card": {"version": 7}}, "its card is another"),
        ({"judge": "a friendlier one"}, "protocol hash does not follow from its card"),
        ({"set": {"shade": 0.5}}, "protocol hash does not follow from its card"),
        ({"samples": 3}, "outputs, "),
    ],
)
def test_protocols_that_are_not_the_installed_ones_are_found(shelf, changes, message):
    results, file = shelf
    run_changes(file, **changes)
    assert any(message in line for line in told(results))


def test_a_record_of_odd_kinds_is_refused_and_breaks_nothing(shelf):
    results, file = shelf
    run_changes(file, set=[1], card="none", samples=None, outputs={}, judge=7)
    record = load_record(file)
    volatile = {"hardware": "a host", "versions": 3, "created": []}
    model = record.model.model_copy(update={"facts": {"lone": "\ud800"}})
    file.write_bytes(record_to_json(record.changed(volatile=volatile, model=model)))
    assert any("its card is another" in line for line in told(results))


def test_a_folder_of_a_machine_among_the_facts_is_found(shelf):
    results, file = shelf
    record = load_record(file)
    model = record.model.model_copy(update={"facts": {"data": "/home/somebody/secret"}})
    file.write_bytes(record_to_json(record.changed(model=model)))
    assert any("/home/somebody/secret" in line for line in told(results))


def test_fewer_samples_than_the_card_has_are_found(shelf, monkeypatch):
    from unimm_eval.api import Card

    results, _ = shelf
    monkeypatch.setattr(Card, "whole", property(lambda card: 1000))
    assert any("of the 1000 that the protocol has" in line for line in told(results))


def test_spoilt_files_are_named_and_the_others_still_checked(shelf):
    results, file = shelf
    other = file.with_name("fake-0.json")
    other.write_bytes(file.read_bytes()[:-30])
    (problem,) = [line for line in told(results) if "fake-0.json" in line]
    assert "ends in the middle" in problem
    scores_file(file, "colours:mini").write_bytes(b"PAR1")
    assert any("cut off or changed" in line for line in told(results))


def test_what_stands_there_twice_or_in_a_wrong_place_is_found(shelf):
    results, file = shelf
    copy = results / "copy" / file.name
    shutil.copytree(file.parent, copy.parent)
    lines = told(results)
    assert any("it belongs at fake/" in line for line in lines)
    assert any("once more" in line for line in lines)


def test_files_that_belong_to_nothing_are_found(shelf):
    results, file = shelf
    folder = record_folder(file)
    (folder / "notes.html").write_text("<script>")
    (folder / "media" / "aa").mkdir(exist_ok=True)
    (folder / "media" / "aa" / ("a" * 64 + ".png")).write_bytes(b"no picture")
    (folder / "link").symlink_to("/")
    (file.parent / "stray").mkdir()
    (results / "empty").mkdir()
    text = "\n".join(told(results))
    for name in (
        "notes.html does not belong",
        "a.png does not belong",
        "link is a link",
        "fake/stray: it belongs to no record",
        "empty: it belongs to no record",
    ):
        assert name in text


def test_too_much_is_found(shelf, monkeypatch):
    results, _ = shelf
    monkeypatch.setattr("unimm_eval.records.check.MAX_RECORD_BYTES", 100)
    monkeypatch.setattr("unimm_eval.records.check.MAX_FILE_BYTES", 100)
    monkeypatch.setattr("unimm_eval.records.check.MAX_RUN_BYTES", 100)
    text = "\n".join(told(results))
    assert text.count("more than 100") >= 3


def test_pictures_keep_to_their_budget(run, tmp_path, monkeypatch):
    monkeypatch.setattr("unimm_eval.records.publish.TASK_MEDIA_BYTES", 1500)
    file = publish(run, results=tmp_path / "results")
    sizes = [path.stat().st_size for path in record_folder(file).rglob("*.png")]
    assert sizes
    assert sum(sizes) <= 1500


def test_the_command_says_where_and_what_is_amiss(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["publish", "run"])
    assert (ended.exit_code, ended.stdout.strip().startswith("results/fake/")) == (0, True)
    document = json.loads((tmp_path / "run" / "results.json").read_bytes())
    document["results"][0]["value"] = 0.99
    (tmp_path / "run" / "results.json").write_text(json.dumps(document))
    ended = CliRunner().invoke(app, ["publish", "run"])
    assert isinstance(ended.exception, UserError)
    assert "changed after it was written" in ended.exception.what


def test_a_record_without_tasks_is_refused(run, tmp_path):
    record = load_record(run)
    empty: RunRecord = record.changed(
        results=(), scores={}, run=record.run.model_copy(update={"tasks": {}})
    )
    (run / "results.json").write_bytes(record_to_json(empty))
    with pytest.raises(UserError, match="it is of no task"):
        publish(run, results=tmp_path / "results")
