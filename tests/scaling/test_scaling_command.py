"""`unimm-eval scaling FILE`: tables, JSON, figures, records, and one message for what is wrong."""

import json
import math

import pytest
from scaling_points import LANGUAGE, VISION, rows, write

from unimm_eval.api import ModelInfo, Result, RunInfo, RunRecord, UserError, record_to_json
from unimm_eval.cli.main import app
from unimm_eval.cli.program import run_program
from unimm_eval.scaling import read_points, study


@pytest.fixture
def table(tmp_path):
    made = [
        *rows(LANGUAGE, modality="language", noise=0.001),
        *rows(VISION, modality="vision", noise=0.001, seed=1),
    ]
    return write(tmp_path / "runs.csv", made)


def run(capsys, *arguments):
    code = run_program(app, ["scaling", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_laws_are_printed(capsys, table):
    code, out, err = run(capsys, table)
    assert (code, err) == (0, "")
    for words in ("language, dense", "vision, dense", "a of N_opt", "E", "grows as N^"):
        assert words in " ".join(out.split())


def test_the_laws_are_printed_as_json_and_drawn(capsys, table, tmp_path):
    figure = tmp_path / "laws.svg"
    code, out, err = run(capsys, table, "--json", "--output", figure)
    assert code == 0
    assert str(figure) in err
    document = json.loads(out)
    exponents = {law["modality"]: law["a"]["value"] for law in document["laws"]}
    assert exponents["language"] == pytest.approx(LANGUAGE.exponents["a"], abs=0.03)
    assert exponents["vision"] == pytest.approx(VISION.exponents["a"], abs=0.03)
    drawn = figure.read_text()
    assert drawn.count('id="axes_') == 8
    assert run(capsys, table, "--output", tmp_path / "laws.png")[0] == 0
    assert (tmp_path / "laws.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["laws.doc", "laws", "gone/laws.png"])
def test_a_figure_that_cannot_be_written_is_refused_before_anything_is_fitted(
    capsys, tmp_path, name
):
    code, out, err = run(capsys, tmp_path / "gone.csv", "--output", tmp_path / name)
    assert (code, out) == (2, "")
    assert "gone.csv" not in err
    assert "Traceback" not in err


def test_what_is_wrong_with_a_table_is_one_message(capsys, table):
    lines = table.read_text().splitlines()
    lines[4] = lines[4].replace("language", "language,")
    table.write_text("\n".join(lines))
    code, out, err = run(capsys, table)
    assert (code, out) == (2, "")
    assert "runs.csv line 5: not as many fields as there are columns" in err
    assert "Traceback" not in err


# --- records


def record(number, row, *, protocol="p", **changes):
    size, tokens, loss = (float(row[key]) for key in ("active_params", "tokens", "loss"))
    facts = {
        "parameters": int(size),
        "active_parameters": size,
        "training": {"tokens": tokens},
        "architecture": {"feed_forward": "moe"},
        **changes,
    }
    metrics = {("dclm", "perplexity"): math.exp(loss), ("cc12m", "flow_loss"): loss / 4}
    return RunRecord(
        schema_version=2,
        model=ModelInfo(name=f"m{number}", spec="ckpt", fingerprint=str(number), facts=facts),
        run=RunInfo(name=f"r{number}", seed=0, plan_hash="h", tasks={}),
        results=tuple(
            Result(
                task=task, metric=metric, value=value, n=10, direction="lower", headline=True,
                mini=False, protocol_hash=protocol,
            )
            for (task, metric), value in metrics.items()
        ),
    )  # fmt: skip


def store(folder, number, made):
    (folder / f"run{number:02}").mkdir(parents=True)
    (folder / f"run{number:02}" / "results.json").write_bytes(record_to_json(made))


def test_records_are_points_as_a_table_is(tmp_path):
    made = rows(LANGUAGE)
    for number, row in enumerate(made):
        store(tmp_path / "runs", number, record(number, row))
    laws = study(read_points(tmp_path / "runs"), resamples=20).laws
    assert [(law.modality, law.arch) for law in laws] == [("language", "moe"), ("vision", "moe")]
    (tabled,) = study(read_points(write(tmp_path / "runs.csv", made)), resamples=20).laws
    for law in laws:  # the losses of vision are a quarter of those of language
        assert law.a_R[0] == pytest.approx(tabled.a_R[0], rel=1e-6)
        assert law.frontier.alpha_R[0] == pytest.approx(tabled.frontier.alpha_R[0], rel=1e-3)
    assert 4 * laws[1].frontier.e_R[0] == pytest.approx(LANGUAGE.e, rel=0.01)


def test_records_that_cannot_be_used_are_named(tmp_path):
    row = rows(LANGUAGE)[0]
    store(tmp_path / "cost", 1, record(1, row, training={}))
    with pytest.raises(UserError, match=r"run01.results\.json does not say what its model cost"):
        read_points(tmp_path / "cost")
    store(tmp_path / "two", 1, record(1, row))
    store(tmp_path / "two", 2, record(2, row, protocol="q"))
    with pytest.raises(UserError, match="by different protocols"):
        read_points(tmp_path / "two")
    store(tmp_path / "none", 1, record(1, row).changed(results=()))
    with pytest.raises(UserError, match="has no loss"):
        read_points(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no records"):
        read_points(tmp_path / "empty")
