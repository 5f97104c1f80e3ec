"""Records as files: what is written comes back, and what was spoilt is named and refused."""

import json
from pathlib import Path

import pytest

import unimm_eval.api
from unimm_eval.api import (
    ModelInfo,
    Output,
    Result,
    RunInfo,
    RunRecord,
    Sample,
    Score,
    UserError,
    load_record,
    load_scores,
    record_to_json,
    scores_file,
    scores_from_parquet,
    scores_to_parquet,
)
from unimm_eval.api.record import json_schema

HOSTILE = "<script>alert(1)</script>,=cmd|' /C calc'!A0,\x1b[2J\x07\u202e\\input{x}%\"'&\x00é…"


def rows(count=4, text="say"):
    return [
        (
            Sample(
                id=f"s{index // 2}", inputs={"prompt": text}, cluster=f"c{index // 2}", repeats=2
            ),
            Output(sample_id=f"s{index // 2}", repeat=index % 2, values={"text": text}),
            Score(
                sample_id=f"s{index // 2}",
                repeat=index % 2,
                values={} if index == 3 else {"right": float(index % 2), "length": 0.1 + index},
                payload={"tag": text},
                unscored="no verdict" if index == 3 else None,
            ),
        )
        for index in range(count)
    ]


def record_of(scores, *, name="model", value=0.5, **fields):
    return RunRecord(
        schema_version=2,
        model=ModelInfo(name=name, spec="demo", fingerprint="f00d"),
        run=RunInfo(name="model-1", seed=0, plan_hash="1", tasks={"say:mini": {"samples": 2}}),
        results=(
            Result(
                task="say:mini",
                metric="right",
                value=value,
                stderr=0.1,
                interval=(0.25, 0.75),
                n=3,
                unscored=1,
                direction="higher",
                range=(0.0, 1.0),
                headline=True,
                mini=True,
                protocol_hash="abc",
            ),
        ),
        scores={"say:mini": scores},
        **fields,
    )


@pytest.fixture
def folder(tmp_path):
    """A run's folder with a record and its scores."""
    data, said = scores_to_parquet(rows())
    (tmp_path / "samples").mkdir()
    scores_file(tmp_path, "say:mini").write_bytes(data)
    (tmp_path / "results.json").write_bytes(record_to_json(record_of(said)))
    return tmp_path


def spoil(folder, change):
    file = folder / "results.json"
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document))


def test_the_published_schema_is_what_the_code_says():
    published = Path(unimm_eval.api.__file__).with_name("record.schema.json")
    assert json.loads(published.read_text(encoding="utf-8")) == json_schema()


def test_a_record_passes_the_published_schema(folder):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    document = json.loads((folder / "results.json").read_bytes())
    assert list(validator.iter_errors(document)) == []
    for change in ({"schema_version": 3}, {"extra": 1}, {"results": [{}]}):
        assert list(validator.iter_errors(document | change))


def test_what_is_written_comes_back(folder):
    record = load_record(folder)
    assert record == load_record(folder / "results.json")
    found = load_scores(folder, "say:mini")
    assert [(row.sample, row.score) for row in found] == [(row[0], row[2]) for row in rows()]
    assert [row.answer for row in found] == [row[1].values for row in rows()]


def test_a_record_beside_the_folder_of_its_files(folder, tmp_path):
    published = tmp_path / "results" / "model"
    published.mkdir(parents=True)
    (folder / "results.json").rename(published / "model-1.json")
    (published / "model-1").mkdir()
    (folder / "samples").rename(published / "model-1" / "samples")
    assert len(load_scores(published / "model-1.json", "say:mini")) == 4


def test_equal_rows_give_equal_bytes():
    assert scores_to_parquet(rows()) == scores_to_parquet(rows())
    assert scores_to_parquet(rows())[1].sha256 != scores_to_parquet(rows(text="no"))[1].sha256


def test_the_digest_covers_all_but_what_may_differ(folder):
    record = load_record(folder)
    assert record.changed(volatile={"seconds": 3}).digest == record.digest
    assert record.changed(model=record.model.model_copy(update={"name": "b"})).digest != (
        record.digest
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda doc: doc["results"][0].update(value=0.9), "changed after it was written"),
        (lambda doc: doc["model"].update(name="other"), "changed after it was written"),
        (lambda doc: doc["scores"]["say:mini"].update(rows=3), "changed after it was written"),
        (lambda doc: doc.update(schema_version=3), "schema version 3; this program reads 2"),
        (lambda doc: doc.update(schema_version=1), "schema version 1; this program reads 2"),
        (lambda doc: doc.pop("schema_version"), "names no schema version"),
        (lambda doc: doc["results"].append(doc["results"][0]), "say:mini/right stands in it twice"),
        (lambda doc: doc["results"][0].update(value=float("nan")), "finite"),
        (lambda doc: doc["results"][0].update(stderr=-1.0), "greater than or equal to 0"),
        (lambda doc: doc.update(extra=1), "extra"),
        (lambda doc: doc.pop("model"), "model"),
    ],
)
def test_a_spoilt_record_is_named_and_refused(folder, change, message):
    spoil(folder, change)
    with pytest.raises(UserError, match=message) as caught:
        load_record(folder)
    assert str(folder / "results.json") in caught.value.what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "ends in the middle"),
        (b'{"schema_version": 2, "model": {"name": "m', "ends in the middle"),
        (b'{"schema_version": 2, "model": {"name": "m"', "ends in the middle"),
        (b'{"schema_version": 2, oh', "is not JSON"),
        (b'{"schema_version": 2, "schema_version": 2}', "'schema_version' stands in it twice"),
        (b"[2]", "names no schema version"),
        (b"\xff\xfe\x00", "is not"),
        (b"[" * 100_000, "is not|ends in the middle"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_bytes(text)
    with pytest.raises(UserError, match=message):
        load_record(tmp_path / "r.json")


def test_every_way_to_cut_a_record_off_is_noticed(folder):
    file = folder / "results.json"
    data = file.read_bytes()
    for size in range(0, len(data) - 1, 97):
        file.write_bytes(data[:size])
        with pytest.raises(UserError, match="ends in the middle"):
            load_record(folder)


def test_scores_are_those_that_the_record_names(folder):
    file = scores_file(folder, "say:mini")
    data = file.read_bytes()
    for spoilt in (
        data[:-9],
        data[:40] + bytes([data[40] ^ 1]) + data[41:],
        scores_to_parquet(rows(2))[0],
    ):
        file.write_bytes(spoilt)
        with pytest.raises(UserError, match="cut off or changed"):
            load_scores(folder, "say:mini")
    file.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_scores(folder, "say:mini")
    with pytest.raises(UserError, match=r"(?s)has no scores of say.*say:mini"):
        load_scores(folder, "say")


def test_files_that_are_no_scores_are_refused():
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), buffer)
    twice = scores_to_parquet([rows()[0], rows()[0]])[0]
    table = pq.read_table(io.BytesIO(scores_to_parquet(rows())[0]))
    lists = io.BytesIO()
    pq.write_table(
        table.set_column(table.column_names.index("inputs"), "inputs", [["[]"] * 4]), lists
    )
    for data, message in (
        (lists.getvalue(), "not the scores"),
        (b"", "not the scores"),
        (buffer.getvalue(), "not the scores"),
        (twice, "1 outputs stand in it twice"),
    ):
        with pytest.raises(ValueError, match=message):
            scores_from_parquet(data)


def test_hostile_text_survives_as_data(tmp_path):
    long = HOSTILE * 20_000
    data, said = scores_to_parquet(rows(text=long))
    assert {row.answer["text"] for row in scores_from_parquet(data)} == {long}
    assert len(data) < 100_000
    file = tmp_path / "r.json"
    file.write_bytes(record_to_json(record_of(said, name=HOSTILE)))
    assert load_record(file).model.name == HOSTILE


def test_files_of_tasks_have_names_for_every_file_system(tmp_path):
    names = ["geneval", "geneval:mini", "geneval--mini", "lm:a/b", "lm:a b", "../x", "ümlaut"]
    files = [scores_file(tmp_path, name) for name in names]
    assert files[:2] == [
        tmp_path / "samples" / "geneval.parquet",
        tmp_path / "samples" / "geneval--mini.parquet",
    ]
    assert all(file.parent == tmp_path / "samples" and file.name.isascii() for file in files)
    assert len(set(files[3:])) == 4


def test_facts_may_be_of_any_kind_that_json_knows(tmp_path):
    record = record_of(
        scores_to_parquet(rows())[1], volatile={"sizes": (1, 2), "nan": float("nan")}
    )
    facts = {"sizes": (1, 2), "by_layer": {0: 1.0}, "none": None, "lone": "\ud800"}
    told = record.changed(model=record.model.model_copy(update={"facts": facts}))
    (tmp_path / "r.json").write_bytes(record_to_json(told))
    assert load_record(tmp_path / "r.json").digest == told.digest


def test_frames_of_records_can_be_put_below_each_other(folder):
    frame = load_record(folder).to_pandas()
    assert list(frame["model"]) == ["model"]
    assert list(frame["value"]) == [0.5]
