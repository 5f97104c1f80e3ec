"""`unimm-train info` tells what an architecture costs, without building it or importing torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from unimm_eval.cli.program import run_program
from unimm_eval.cli.train import app
from unimm_eval.model.presets import PRESET_NAMES

DEMO = Path(__file__).parents[2] / "model" / "demo"


def info(*arguments: str) -> int:
    return run_program(app, ["info", *arguments])


def as_json(capsys, name: str) -> dict:
    assert info(name, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_numbers_of_a_preset(capsys):
    facts = as_json(capsys, "moe-e1008")
    assert f"{facts['parameters']['total'] / 1e9:.3f}" == "51.460"
    assert f"{facts['parameters']['active'] / 1e9:.3f}" == "1.531"
    assert facts["encoder"] == "siglip2"
    assert facts["config"]["num_experts"] == 1008
    text = facts["flops_per_token"]["text"]
    assert text["training"]["full"] == 3 * text["forward"]["full"] > text["training"]["masked"]
    assert facts["memory_bytes"]["cache_per_1000_tokens"] == 1000 * 2 * 2 * 16 * 8 * 64


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_has_a_table(name, capsys):
    assert info(name) == 0
    printed = capsys.readouterr().out
    for title in ("Parameters", "active a token", "FLOPs, image token, training", "Memory: cache"):
        assert title in printed


@pytest.mark.parametrize("path", [DEMO, DEMO / "config.json"])
def test_a_checkpoint_costs_what_its_preset_does(path, capsys):
    ours, preset = as_json(capsys, str(path)), as_json(capsys, "demo")
    for part in ("config", "parameters", "flops_per_token", "memory_bytes"):
        assert ours[part] == preset[part]


def test_a_file_with_nothing_but_fields_is_an_architecture(tmp_path, capsys):
    fields = as_json(capsys, "moe-g4")["config"]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**fields, "num_experts": 1024}))
    assert info(str(path)) == 2
    assert "num_experts is 1024" in capsys.readouterr().err
    path.write_text(json.dumps(fields))
    assert as_json(capsys, str(path))["config"] == fields


@pytest.mark.parametrize("content", ["", "[1]", '{"model": 3}', '{"depth": 3}', b"\xff"])
def test_what_is_no_architecture_is_one_message(content, tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert info(str(tmp_path)) == 2
    message = capsys.readouterr().err
    assert str(path) in message
    assert "Traceback" not in message


def test_an_unknown_preset_is_answered_with_the_names(capsys):
    assert info("moe-e96") == 2
    message = capsys.readouterr().err
    assert "moe-e96" in message
    assert ", ".join(PRESET_NAMES) in message


def test_it_needs_no_torch():
    code = (
        "import sys; from unimm_eval.cli.train import app; "
        "from unimm_eval.cli.program import run_program; "
        "code = run_program(app, ['info', 'moe-e256']); sys.exit(code or 'torch' in sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=DEMO.parents[1], capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
