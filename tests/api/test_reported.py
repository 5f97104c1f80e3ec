"""Reported rows: what is filed, in which unit, and what a file may not hold."""

from pathlib import Path

import pytest
import yaml

from unimm_eval.api import Result, UserError, load_reported
from unimm_eval.engine.registry import task_entries

REPORTED = Path(__file__).parents[2] / "results" / "reported"


@pytest.fixture(scope="module")
def rows():
    return load_reported(REPORTED)


def find(rows, source, model, task, metric):
    found = [
        row
        for row in rows
        if (row.source, row.model, row.task, row.metric) == (source, model, task, metric)
    ]
    assert len(found) == 1
    return found[0]


def test_every_number_says_where_it_was_read_and_how_it_was_measured(rows):
    assert len(rows) > 300
    assert all(row.source and row.where and row.protocol and row.revision for row in rows)


def test_the_numbers_of_one_metric_are_in_one_unit(rows):
    for task in {row.task for row in rows}:
        for metric in {row.metric for row in rows if row.task == task}:
            mine = [row for row in rows if (row.task, row.metric) == (task, metric)]
            assert len({(row.unit, row.range, row.direction) for row in mine}) == 1


def test_where_the_task_is_ours_the_unit_is_ours(rows):
    cards = {name: entry.card for name, entry in task_entries().items()}
    ours = [row for row in rows if row.task in cards and row.subject == "model"]
    assert {"geneval", "dpgbench", "wise"} <= {row.task for row in ours}
    for row in ours:
        spec = cards[row.task].metrics[row.metric]
        assert (row.direction, row.range) == (spec.direction, spec.range), row


def test_dpg_of_others_is_brought_to_the_scale_of_the_paper(rows):
    paper = find(
        rows, "Beyond Language Modeling", "SigLIP 2, centred losses", "dpgbench", "overall"
    )
    other = find(rows, "TorchUMM README", "Bagel", "dpgbench", "overall")
    assert (paper.printed, paper.value) == (0.612, 0.612)
    assert (other.printed, other.value) == (84.11, 0.8411)


def test_references_of_cards_are_the_reported_numbers(rows):
    numbers = {(row.task, row.metric, round(row.value, 9)) for row in rows}
    for name in ("geneval", "dpgbench", "wise", "wise-verified"):
        card = task_entries()[name].card
        assert card.references
        for reference in card.references:
            assert (name, reference.metric, round(reference.value, 9)) in numbers


def test_a_reported_row_is_no_result(rows):
    assert not isinstance(rows[0], Result)
    assert not {"stderr", "interval", "n", "protocol_hash"} & set(type(rows[0]).model_fields)


@pytest.fixture
def document():
    return yaml.safe_load((REPORTED / "geneval.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda doc: doc["rows"][0]["values"].update(overall=35), "outside 0.0 to 1.0"),
        (lambda doc: doc["rows"][0]["values"].update(overall=float("nan")), "finite"),
        (lambda doc: doc["rows"][0]["values"].update(other=0.1), "no column 'other'"),
        (lambda doc: doc["rows"].append(doc["rows"][0]), "twice"),
        (lambda doc: doc["columns"]["overall"].pop("protocol"), "columns.overall.protocol"),
        (lambda doc: doc["source"].update(url="javascript:alert(1)"), "source.url"),
        (lambda doc: doc.update(schema_version=2), "schema_version"),
    ],
)
def test_a_wrong_file_is_named_and_refused(tmp_path, document, change, message):
    change(document)
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        load_reported(tmp_path)
    assert str(tmp_path) in caught.value.what
