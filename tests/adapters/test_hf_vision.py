"""`hf:`, shown pictures: the real classes of three families, tiny, from disk."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny_hub import prose, tiny_hub_model
from tiny_internvl import tiny_internvl
from tiny_vision import tiny_janus, tiny_qwen2_vl

from unimm_eval.adapters.hf import HubModel
from unimm_eval.api import (
    ChatRequest,
    ContinuationRequest,
    DocumentRequest,
    Picture,
    SampleError,
    Turn,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.evaluate import evaluate

MAKERS = {"internvl": tiny_internvl, "qwen2_vl": tiny_qwen2_vl, "janus": tiny_janus}
RNG = np.random.default_rng(0)
WIDE = Picture(array=RNG.integers(0, 255, (40, 62, 3), dtype=np.uint8))
HIGH = Picture(array=RNG.integers(0, 255, (58, 28, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=MAKERS)
def folder(request, tmp_path_factory):
    return MAKERS[request.param](tmp_path_factory.mktemp("made") / request.param)


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return tiny_qwen2_vl(tmp_path_factory.mktemp("made") / "qwen")


def load(folder):
    return HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")


def chat(*parts, **fields):
    return ChatRequest(sample_id="s", parts=parts, **{"max_new_tokens": 8, **fields})


def test_answers_are_those_of_transformers_alone(folder, model):
    """Two pictures between text, after a turn with a third: processor and model by hand."""
    earlier = Turn(parts=(HIGH, "first"), answer="a ring")
    (answer,) = model.generate_text([chat(WIDE, "and", HIGH, "what is it", history=(earlier,))])

    def shown(picture):
        return {"type": "image", "image": Image.fromarray(picture.array)}

    def said(text):
        return {"type": "text", "text": text}

    messages = [
        {"role": "user", "content": [shown(HIGH), said("first")]},
        {"role": "assistant", "content": [said("a ring")]},
        {"role": "user", "content": [shown(WIDE), said("and"), shown(HIGH), said("what is it")]},
    ]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    plain = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    given = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    made = plain.generate(**given, max_new_tokens=8, do_sample=False)
    new = made[0, given["input_ids"].shape[1] :]
    assert answer == processor.tokenizer.decode(new, skip_special_tokens=True)


def test_a_batch_answers_as_each_request_alone(model):
    requests = [
        chat(WIDE, "what"),
        chat("before", HIGH, "and a much longer question than the others"),
        chat(HIGH, WIDE, "two"),
        chat(WIDE, HIGH, "two, the other way round"),
        chat("none at all"),
        chat(WIDE, "drawn", temperature=1.0, seed=1),
        chat(WIDE, "drawn", temperature=1.0, seed=2),
        chat(WIDE, "drawn", temperature=1.0, seed=1, top_p=1e-9),
        chat(WIDE, "drawn"),
        chat(WIDE, "choose", choices=("yes", "no", "yesterday")),
        chat(HIGH, "again", history=(Turn(parts=(WIDE, "first"), answer="ok"),)),
        chat(HIGH, "stopped", stop=("e", "i", "t", " ", "r"), max_new_tokens=20),
    ]
    together = model.generate_text(requests)
    assert together == [model.generate_text([request])[0] for request in requests]
    assert together[5] != together[6]
    assert together[7] == together[8]
    assert together[9] in ("yes", "no", "yesterday")
    assert not set(together[11]) & set("eit r")


def test_which_picture_is_shown_matters(model):
    one, other, blank = model.generate_text(
        [chat(picture, "what is it", max_new_tokens=12) for picture in (WIDE, HIGH)]
        + [chat("what is it", max_new_tokens=12)]
    )
    assert len({one, other, blank}) == 3


def test_text_is_scored_as_by_the_language_part_alone(folder, model):
    """Also after pictures were shown, and for several continuations of one context."""
    model.generate_text([chat(WIDE, "what is it")])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    plain = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    context, continuations = prose(4)[:400], [" a ring", " is the", " what"]
    scores = model.score_continuations(
        [ContinuationRequest(sample_id="c", context=context, continuation=c) for c in continuations]
    )
    begins = len(tokenizer(context)["input_ids"])
    for continuation, score in zip(continuations, scores, strict=True):
        ids = torch.tensor([tokenizer(context + continuation)["input_ids"]])
        with torch.inference_mode():
            logp = plain(input_ids=ids).logits[0].float().log_softmax(-1)
        picked = [logp[at - 1, ids[0, at]].item() for at in range(begins, ids.shape[1])]
        assert score.nats == pytest.approx(-sum(picked), rel=1e-4)
    (document,) = model.score_documents(
        [DocumentRequest(sample_id="d", text=context, max_length=512)]
    )
    assert document.tokens == len(tokenizer(context, add_special_tokens=False)["input_ids"])


def test_a_model_can_do_what_was_promised(folder, model):
    promised = HubModel.capabilities_for(f"hf:{folder}")
    assert {"ScoresText", "GeneratesText"} <= promised <= capabilities_of(model)
    assert promised <= HubModel.capabilities
    assert model.describe()["processor"].endswith("Processor")


def test_a_run_about_pictures(qwen, tmp_path):
    record = evaluate(f"hf:{qwen}", "vqa16:mini", limit=3, device="cpu", output=tmp_path / "run")
    assert sum(row.n for row in record.results) > 0
    assert all(row.unscored == 0 for row in record.results)
    assert record.model.facts["processor"] == "Qwen2VLProcessor"


def test_what_it_cannot_be_asked_is_its_samples_fault(qwen):
    model = load(qwen)
    with pytest.raises(SampleError, match="s shows a picture outside a chat template, where qwen"):
        model.generate_text([chat(WIDE, "what", template=False)])
    assert model.generate_text([chat("what", template=False)])
    with pytest.raises(SampleError, match=r"needs [\d,]+ tokens, but qwen has room for 1,024"):
        model.generate_text([chat(WIDE, "q z " * 400)])
    narrow = Picture(array=np.zeros((4, 1200, 3), np.uint8))
    with pytest.raises(SampleError, match=r"the processor of qwen cannot use it: .*aspect ratio"):
        model.generate_text([chat(narrow, "what")])


def test_the_fingerprint_is_of_the_files(qwen, tmp_path):
    same = shutil.copytree(qwen, tmp_path / "same")
    (same / "README.md").write_text("nothing that is read")
    assert load(same).fingerprint == load(qwen).fingerprint
    (same / "chat_template.jinja").write_text("another")
    assert load(same).fingerprint != load(qwen).fingerprint


def test_which_of_both_a_checkpoint_is_is_known_before_it_is_loaded(qwen, tmp_path, monkeypatch):
    """Nothing heavy is read for it: the weights are no weights here."""
    monkeypatch.setattr("unimm_eval.adapters.hf_files.load_weights", None)

    def copied(name, without=(), **changes):
        made = shutil.copytree(qwen, tmp_path / name)
        (made / "model.safetensors").write_bytes(b"")
        for file in without:
            (made / file).unlink()
        config = json.loads((made / "config.json").read_text())
        (made / "config.json").write_text(json.dumps(config | changes))
        return f"hf:{made}"

    assert HubModel.capabilities_for(copied("whole")) == {
        "ScoresText", "GeneratesText", "ReadsPictures",
    }  # fmt: skip
    with pytest.raises(UserError, match=r"this qwen2_vl has no chat template, which says where"):
        HubModel.capabilities_for(copied("mute", without=["chat_template.jinja"]))
    with pytest.raises(UserError, match=r"this qwen2_vl has no processor of pictures"):
        HubModel.capabilities_for(copied("blind", without=["processor_config.json"]))
    with pytest.raises(UserError, match=r"cannot be loaded|is no language model"):
        HubModel.capabilities_for(copied("other", model_type="sam"))
    (tmp_path / "whole" / "model.safetensors").rename(tmp_path / "whole" / "model.pt")
    with pytest.raises(UserError, match=r"no weights in safetensors, only model.pt, and pickles"):
        HubModel.capabilities_for(f"hf:{tmp_path / 'whole'}")
    # A kind that also continues plain text does that where nothing says where a picture stands.
    text = transformers.Gemma3Config(text_config={"vocab_size": 10}, vision_config={})
    text.save_pretrained(tmp_path / "gemma")
    (tmp_path / "gemma" / "model.safetensors").write_bytes(b"")
    found = HubModel.capabilities_for(f"hf:{tmp_path / 'gemma'}")
    assert found == {"ScoresText", "GeneratesText"}


def test_a_text_model_is_asked_nothing_about_pictures(tmp_path):
    """The message names what it lacks, and no weight was read."""
    folder = tiny_hub_model(tmp_path / "text")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="cannot run vqa16:mini: it lacks ReadsPictures"):
        evaluate(f"hf:{folder}", "vqa16:mini", output=tmp_path / "run")
