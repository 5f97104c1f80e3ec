"""`python -m bench` runs what is named, keeps going past what fails, and says so."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import bench.__main__ as bench_all
from bench.growth import exponent


def test_every_measurement_is_a_module_with_a_record_of_its_name():
    for name in bench_all.MEASUREMENTS:
        spec = importlib.util.find_spec(f"bench.{name}")
        assert spec is not None, name
        assert f'"{name}.json"' in Path(spec.origin).read_text(encoding="utf-8"), name


def test_records_and_tables_are_gathered_and_a_failure_is_named(tmp_path, monkeypatch):
    package = tmp_path / "bench"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "good.py").write_text(
        "from pathlib import Path\nprint('| a |'); Path('good.json').write_text('{\"a\": 1}')"
    )
    (package / "bad.py").write_text("raise SystemExit('no such luck')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bench_all, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_all, "MEASUREMENTS", {"bad": "Bad", "good": "Good"})
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert bench_all.main() == 1
    (gathered,) = tmp_path.glob("2*.json")
    measured = json.loads(gathered.read_text())["measured"]
    assert measured["good"]["record"] == {"a": 1}
    assert measured["bad"]["failed"] == "no such luck"
    page = gathered.with_suffix(".md").read_text()
    assert "## Good" in page
    assert "| a |" in page
    assert "**Failed**: no such luck" in page


def test_the_exponent_of_growth():
    assert exponent({1: 2.0, 4: 8.0, 16: 32.0}) == pytest.approx(1.0)
    assert exponent({1: 1.0, 4: 16.0, 16: 256.0}) == pytest.approx(2.0)
