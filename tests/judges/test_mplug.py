"""`mplug`: asked through modelscope (here a stand-in of the same interface), read as released."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from unimm_eval.api import Picture, UserError
from unimm_eval.engine.registry import judge_kinds
from unimm_eval.judges import Question
from unimm_eval.judges.mplug import MODEL, MPlugJudge
from unimm_eval.judges.settings import JudgeSettings


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mplug"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"weights")
    (folder / "config.yaml").write_text("image_res: 504\n")
    return folder


class Tokens:
    """Tokens of a stand-in network: the text itself."""

    def __init__(self, text):
        self.text = text

    def to(self, device):
        return self


class Network:
    """Says what `modelscope.says(brightness, question)` says."""

    def __init__(self, package):
        self.package = package
        self.tokenizer = self

    def __call__(self, first, question=None, **settings):
        if question is None:
            assert settings["max_length"] == 25
            return Tokens(first)
        assert first.shape == (1, 3, 4, 4)
        return [[self.package.says(round(float(first[0, 0, 0, 0]), 2), question.text)]], None

    def decode(self, said, *, skip_special_tokens):
        return said

    def eval(self):
        return self

    def to(self, device):
        return self


def red(value):
    """The network's brightness of a picture whose red is `value` of 255."""
    return round((value / 255 - 0.48145466) / 0.26862954, 2)


@pytest.fixture
def modelscope(monkeypatch):
    """A modelscope of the interface that is used, with a stand-in network; it counts its loads."""
    names = ("", ".hub", ".hub.snapshot_download", ".models", ".models.multi_modal")
    parts = {f"modelscope{name}": ModuleType(f"modelscope{name}") for name in names}
    package, mplug = parts["modelscope"], ModuleType("modelscope.models.multi_modal.mplug")
    parts[mplug.__name__] = mplug
    package.__spec__ = type("Spec", (), {"name": "modelscope"})()
    package.says = lambda brightness, question: "yes"
    package.loaded = []

    def from_pretrained(folder, *, task):
        package.loaded.append((task, folder))
        return Network(package)

    def snapshot_download(name, *, local_files_only=False):
        raise ValueError(f"no {name}") if local_files_only else OSError("no network")

    parts["modelscope.hub.snapshot_download"].snapshot_download = snapshot_download
    package.base = type("BertPreTrainedModel", (), {})
    mplug.modeling_mplug = type("Module", (), {"BertPreTrainedModel": package.base})
    mplug.MPlug = type("MPlug", (), {"from_pretrained": staticmethod(from_pretrained)})
    config = type("Config", (), {"image_res": 4})
    mplug.MPlugConfig = type("MPlugConfig", (), {"from_yaml_file": staticmethod(lambda _: config)})
    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, name, module)
    return package


def ask(judge, *questions):
    return list(judge.answers(questions))


def about(value, text="Is there a hat?", key="q"):
    picture = Picture(array=np.full((2, 5, 3), value, np.uint8))
    return Question(key=key, system="Answer with one word.", parts=(picture, text))


def test_only_an_exact_yes_is_a_yes(folder, modelscope):
    said = {10: "yes", 20: "Yes", 30: "yes it is", 40: "no", 50: "2", 60: ""}
    by_brightness = {red(value): text for value, text in said.items()}
    modelscope.says = lambda brightness, question: by_brightness[brightness]
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    answers = ask(judge, *(about(value, key=value) for value in said))
    assert [(a.key, a.text) for a in answers] == [
        (10, "yes"),
        *((value, "no") for value in range(20, 70, 10)),
    ]
    assert answers[4].log == {"question": "Is there a hat?", "response": "2"}


def test_the_network_is_loaded_once_and_only_when_asked(folder, modelscope):
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    assert modelscope.loaded == []
    ask(judge, about(1), about(1))
    assert modelscope.loaded == [("visual-question-answering", str(folder))]


def test_the_identity_is_that_of_the_weights(folder, modelscope):
    first = MPlugJudge.open(f"mplug:{folder}", JudgeSettings()).identity
    (folder / "README.md").write_text("a note")
    assert MPlugJudge(folder).identity == first
    (folder / "pytorch_model.bin").write_bytes(b"other weights")
    assert MPlugJudge(folder).identity != first
    assert MODEL in first


def test_a_picture_that_does_not_decode_costs_its_own_questions(folder, modelscope, tmp_path):
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    gone = Question(key="gone", parts=(Picture(path=tmp_path / "gone.png"), "Is it there?"))
    answers = ask(judge, gone, about(1))
    assert "gone.png" in answers[0].error
    assert (answers[0].text, answers[1].text) == (None, "yes")


def test_without_modelscope_the_command_is_told(monkeypatch):
    monkeypatch.setattr("unimm_eval.judges.mplug.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed") as caught:
        MPlugJudge.open("mplug", JudgeSettings())
    assert "pip install 'unimm-eval[modelscope]'" in caught.value.fix


def test_without_weights_or_network_the_way_to_get_them_is_told(modelscope, tmp_path):
    with pytest.raises(UserError, match="cannot be fetched: no network") as caught:
        MPlugJudge.open("mplug", JudgeSettings())
    assert f"modelscope download --model {MODEL}" in caught.value.fix
    with pytest.raises(UserError, match="does not hold mPLUG"):
        MPlugJudge.open(f"mplug:{tmp_path}", JudgeSettings())


def test_a_part_of_modelscope_that_is_missing_is_told(folder, modelscope, monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope.models.multi_modal.mplug", None)
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    with pytest.raises(UserError, match="modelscope cannot be used"):
        ask(judge, about(1))


def test_it_is_found_by_its_name(folder):
    kind = judge_kinds()["mplug"]
    assert kind.matches("mplug")
    assert kind.matches("mplug:/somewhere")
    assert not kind.matches("mplug-owl")
    with pytest.raises(ValueError, match="one question about one picture"):
        ask(MPlugJudge(folder), Question(key=1, parts=("only text",)))


def test_what_transformers_no_longer_has_is_filled_in(folder, modelscope):
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    ask(judge, about(1))
    model = modelscope.base()
    model.dtype = torch.float32
    assert model.get_head_mask(None, 3) == [None] * 3
    mask = model.invert_attention_mask(torch.tensor([[1, 0]]))
    assert mask.tolist() == [[[[0.0, torch.finfo(torch.float32).min]]]]
