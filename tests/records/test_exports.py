"""Exports: the numbers and samples of a record in the forms of others, as their tools read them."""

import hashlib
import importlib.util
import json
import os
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from unimm_eval.api import UserError, load_record, load_scores
from unimm_eval.cli.main import app
from unimm_eval.records.export import FORMATS, export

SCHEMAS = "UNIMM_EVAL_EEE_SCHEMAS"


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", FORMATS)
def test_a_second_export_is_the_same_to_the_byte(run, tmp_path, form):
    files = export(run, tmp_path / "a", format=form)
    export(run, tmp_path / "b", format=form)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert sorted(files) == sorted(path for path in (tmp_path / "a").rglob("*.*") if path.is_file())


def test_an_unknown_format_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="no format 'xml'"):
        export(run, tmp_path / "out", format="xml")


def test_every_eval_ever_has_each_metric_and_each_scored_sample(run, tmp_path):
    record, rows = load_record(run), load_scores(run, "colours:mini")
    samples, file = export(run, tmp_path, format="every-eval-ever", organization="us")
    document = json.loads(file.read_bytes())
    (result,) = document["evaluation_results"]
    (row,) = record.results
    assert result["score_details"]["score"] == row.value
    uncertainty = result["score_details"]["uncertainty"]
    assert uncertainty["standard_error"]["value"] == row.stderr
    assert uncertainty["confidence_interval"]["lower"] == row.interval[0]
    assert result["metric_config"]["lower_is_better"] is False
    details = document["detailed_evaluation_results"]
    data = samples.read_bytes()
    assert tmp_path / details["file_path"] == samples
    assert details["checksum"] == hashlib.sha256(data).hexdigest()
    assert details["total_rows"] == len(rows) == len(lines(samples))
    found = {line["sample_id"]: line for line in lines(samples)}
    for scored in rows:
        line = found[f"{scored.sample.id}/{scored.score.repeat}"]
        assert line["evaluation"]["score"] == scored.score.values["correct"]
        assert line["evaluation_id"] == document["evaluation_id"]
        assert line["metadata"]["media.picture"].startswith("sha256:")


def _schema_folder():
    if given := os.environ.get(SCHEMAS):
        return Path(given)
    spec = importlib.util.find_spec("every_eval_ever")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"every-eval-ever is not installed, and {SCHEMAS} names no folder of schemas")
    return Path(spec.submodule_search_locations[0]) / "schemas"


def test_every_eval_ever_passes_its_published_schemas(run, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    folder = _schema_folder()
    samples, file = export(run, tmp_path, format="every-eval-ever")
    for name, documents in (
        ("eval", [json.loads(file.read_bytes())]),
        ("instance_level_eval", lines(samples)),
    ):
        schema = json.loads((folder / f"{name}.schema.json").read_bytes())
        validator = jsonschema.Draft7Validator(schema)
        for document in documents:
            assert [error.message for error in validator.iter_errors(document)] == []


def test_outputs_without_a_score_are_left_out_and_counted(copy_of, tmp_path):
    record = load_record(copy_of("echo"))
    samples, file = export(tmp_path / "run", tmp_path / "out", format="every-eval-ever")
    scores = record.scores["echo"]
    assert scores.unscored == 2
    assert len(lines(samples)) == scores.rows - 2
    (result,) = json.loads(file.read_bytes())["evaluation_results"]
    assert int(result["score_details"]["details"]["unscored"]) == record.results[0].unscored


def test_mini_numbers_do_not_reach_the_boards_of_the_hub(run, tmp_path):
    (index,) = export(run, tmp_path, format="hf")
    assert not (tmp_path / ".eval_results").exists()
    (entry,) = yaml.safe_load(index.read_text())["model-index"]
    (result,) = entry["results"]
    assert "not official" in result["dataset"]["name"]
    assert result["metrics"][0]["value"] == load_record(run).results[0].value


def test_the_hub_reads_its_own_forms_back(copy_of, tmp_path):
    from huggingface_hub import parse_eval_result_entries
    from huggingface_hub.repocard_data import model_index_to_eval_results

    record = load_record(copy_of("echo"))
    index, file = export(tmp_path / "run", tmp_path / "out", format="hf")
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text()))
    assert (entry.task_id, entry.value) == ("echo", record.results[0].value)
    assert record.results[0].protocol_hash in entry.notes
    document = yaml.safe_load(index.read_text())
    name, results = model_index_to_eval_results(document["model-index"])
    assert name == "fake"
    assert [result.metric_value for result in results] == [row.value for row in record.results]


def test_the_layout_of_lm_eval(run, tmp_path):
    record, rows = load_record(run), load_scores(run, "colours:mini")
    samples, file = export(run, tmp_path, format="lm-eval")
    assert file.parent == samples.parent == tmp_path / "fake"
    date = file.stem.removeprefix("results_")
    assert samples.name == f"samples_colours--mini_{date}.jsonl"
    document = json.loads(file.read_bytes())
    task = document["results"]["colours:mini"]
    (row,) = record.results
    assert task["accuracy,none"] == row.value
    assert task["accuracy_stderr,none"] == row.stderr
    assert document["higher_is_better"]["colours:mini"] == {"accuracy": True}
    found = lines(samples)
    assert [line["doc_id"] for line in found] == list(range(len(rows)))
    assert [line["correct"] for line in found] == [row.score.values["correct"] for row in rows]


def test_lm_eval_makes_its_table_of_it(run, tmp_path):
    from lm_eval.utils import get_file_datetime, get_results_filenames, make_table

    _, file = export(run, tmp_path, format="lm-eval")
    table = make_table(json.loads(file.read_bytes()))
    assert "colours:mini" in table
    assert f"{load_record(run).results[0].value:.4f}" in table
    assert get_results_filenames([str(file)]) == [str(file)]
    assert get_file_datetime(file.name).startswith("20")


def test_the_command_names_its_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["export", "run", "--format", "hf", "--output", "out"])
    assert (ended.exit_code, ended.stdout.strip()) == (0, "out/model-index.yaml")


def test_hostile_text_stays_data(copy_of, tmp_path):
    from fake_bench import HOSTILE

    copy_of("echo")
    for form in FORMATS:
        for path in export(tmp_path / "run", tmp_path / form, format=form):
            assert path.is_relative_to(tmp_path / form)
            assert b"\x1b" not in path.read_bytes()
    samples, _ = export(tmp_path / "run", tmp_path / "again", format="every-eval-ever")
    assert any(HOSTILE in line["output"]["raw"][0] for line in lines(samples))
