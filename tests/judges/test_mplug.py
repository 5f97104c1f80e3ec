"""`mplug`: asked through modelscope (here a stand-in of the same interface), read as released."""

import sys
from types import ModuleType

import numpy as np
import pytest

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


@pytest.fixture
def modelscope(monkeypatch):
    """A modelscope whose network says what `says(width, question)` says; it counts its loads."""
    package = ModuleType("modelscope")
    package.__spec__ = type("Spec", (), {"name": "modelscope"})()
    package.says = lambda width, question: "yes"
    package.loaded = []

    def pipeline(task, *, model, device):
        package.loaded.append((task, model, device))
        return lambda data: {"text": package.says(data["image"].size[0], data["question"])}

    def snapshot_download(name, *, local_files_only=False):
        raise ValueError(f"no {name}") if local_files_only else OSError("no network")

    parts = {
        "modelscope": package,
        "modelscope.hub": ModuleType("modelscope.hub"),
        "modelscope.hub.snapshot_download": ModuleType("modelscope.hub.snapshot_download"),
        "modelscope.pipelines": ModuleType("modelscope.pipelines"),
        "modelscope.utils": ModuleType("modelscope.utils"),
        "modelscope.utils.constant": ModuleType("modelscope.utils.constant"),
    }
    parts["modelscope.hub.snapshot_download"].snapshot_download = snapshot_download
    parts["modelscope.pipelines"].pipeline = pipeline
    parts["modelscope.utils.constant"].Tasks = type(
        "Tasks", (), {"visual_question_answering": "visual-question-answering"}
    )
    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, name, module)
    return package


def ask(judge, *questions):
    return list(judge.answers(questions))


def about(width, text="Is there a hat?", key="q"):
    picture = Picture(array=np.zeros((2, width, 3), np.uint8))
    return Question(key=key, system="Answer with one word.", parts=(picture, text))


def test_only_an_exact_yes_is_a_yes(folder, modelscope):
    said = {1: "yes", 2: "Yes", 3: "yes it is", 4: "no", 5: "2", 6: ""}
    modelscope.says = lambda width, question: said[width]
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    answers = ask(judge, *(about(width, key=width) for width in said))
    assert [(a.key, a.text) for a in answers] == [
        (1, "yes"),
        *((width, "no") for width in range(2, 7)),
    ]
    assert answers[4].log == {"question": "Is there a hat?", "response": "2"}


def test_the_network_is_loaded_once_and_only_when_asked(folder, modelscope):
    judge = MPlugJudge.open(f"mplug:{folder}", JudgeSettings())
    assert modelscope.loaded == []
    ask(judge, about(1), about(1))
    assert [row[:2] for row in modelscope.loaded] == [("visual-question-answering", str(folder))]


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
    monkeypatch.setitem(sys.modules, "modelscope.pipelines", None)
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
