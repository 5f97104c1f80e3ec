"""Pickled weights become safetensors, and nothing but weights does."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from unimm_eval.api import UserError
from unimm_eval.cli.train import app
from unimm_eval.train.convert import convert_pickle


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def weights():
    shared = torch.randn(4, 6)
    return {"a.weight": shared.t(), "a.again": shared, "b": torch.arange(3, dtype=torch.bfloat16)}


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_the_tensors_of_a_pickle_come_out_as_they_were(tmp_path, wrapper):
    tensors = weights()
    content = tensors if wrapper is None else {wrapper: tensors, "epoch": 3}
    torch.save(content, tmp_path / "model.pt")
    target = tmp_path / "new" / "model.safetensors"
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "model.pt"), str(target)])
    assert result.exit_code == 0, result.output
    assert "3 tensors" in result.output
    found = load_file(target)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    mark = tmp_path / "it-ran"
    for name, save in (("torch.pt", torch.save), ("plain.pt", None)):
        path = tmp_path / name
        if save is None:
            path.write_bytes(pickle.dumps({"w": Malicious(mark)}, protocol=2))
        else:
            save({"w": torch.ones(2), "x": Malicious(mark)}, path)
        with pytest.raises(UserError, match=r"refused, it holds more than tensors.*system"):
            convert_pickle(path, tmp_path / "out.safetensors")
    assert not mark.exists()
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"a": 1, "b": "two"}, "with a, b"),
        ([torch.ones(1)], "not a table of tensors but list"),
        ({}, "empty"),
    ],
)
def test_what_is_no_table_of_tensors_is_refused(tmp_path, content, named):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(UserError, match=named):
        convert_pickle(tmp_path / "model.pt", tmp_path / "out.safetensors")


def test_files_that_are_no_pickles_are_refused(tmp_path):
    (tmp_path / "text.pt").write_text("weights")
    for source in ("text.pt", "missing.pt"):
        with pytest.raises(UserError, match=source):
            convert_pickle(tmp_path / source, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match="ending"):
        convert_pickle(tmp_path / "text.pt", tmp_path / "out.bin")
