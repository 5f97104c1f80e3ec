"""A model class of lmms-eval as a model under evaluation, on a tiny random checkpoint."""

import json
import shutil

import numpy as np
import pytest
from tiny_internvl import tiny_internvl

from unimm_eval import evaluate
from unimm_eval.adapters.lmms import LmmsModel
from unimm_eval.api import ChatRequest, Picture, UserError

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_internvl(tmp_path_factory.mktemp("internvl"))


@pytest.fixture(scope="module")
def model(folder):
    return LmmsModel.load(f"lmms:internvl_hf?pretrained={folder}", device="cpu", dtype="auto")


def picture(seed):
    return Picture(array=np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8))


def asked(*parts, **options):
    return ChatRequest(sample_id="s", parts=parts, max_new_tokens=6, **options)


def test_it_sees_pictures_and_answers_each_request_for_itself(model):
    requests = [
        asked(picture(0), "what is in the picture?"),
        asked(picture(1), "what is in the picture?"),
        asked("a text alone"),
        asked("first ", picture(0), " then ", picture(1)),
    ]
    answers = model.generate_text(requests)
    assert len(set(answers)) >= 3
    assert model.generate_text(requests[1:2]) == answers[1:2]
    assert model.generate_text(requests[::-1]) == answers[::-1]


def test_stops_and_choices(model):
    (whole,) = model.generate_text([asked("go on")])
    stop = whole[2:4]
    assert model.generate_text([asked("go on", stop=(stop,))]) == [whole.partition(stop)[0]]
    begun = whole.strip()[:2]
    assert model.generate_text([asked("go on", choices=(begun, "no"))]) == [begun]
    assert model.generate_text([asked("go on", choices=("nothing like it",))]) == [whole]


def test_its_weights_are_in_its_fingerprint(model, folder, tmp_path):
    facts = model.describe()
    assert facts["interface"] == "chat"
    assert facts["weights_identified_by"] == "files"
    assert facts["parameters"] > 1000
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "generation_config.json").read_text())
    (other / "generation_config.json").write_text(json.dumps(config | {"max_length": 99}))
    moved = LmmsModel.load(f"lmms:internvl_hf?pretrained={other}", device="cpu", dtype="auto")
    assert moved.fingerprint != model.fingerprint


def test_bare_text_is_refused(model):
    with pytest.raises(UserError, match="chat template"):
        model.generate_text([asked("once upon", template=False)])


def test_a_model_that_cannot_be_made_is_one_message(tmp_path):
    with pytest.raises(UserError, match="cannot make"):
        LmmsModel.load(f"lmms:internvl_hf?pretrained={tmp_path}", device="cpu", dtype="auto")


def test_a_run_on_it(folder, tmp_path):
    spec = f"lmms:internvl_hf?pretrained={folder}"
    record = evaluate(spec, "vqa16:mini", limit=16, device="cpu", output=tmp_path / "run")
    assert record.model.facts["model_class"].endswith("InternVLHf")
    assert record.get("vqa16:mini", "mme").n == 1
