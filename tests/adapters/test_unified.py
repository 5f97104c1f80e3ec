"""`janus:` and `emu3:`: tiny checkpoints of the real classes with tiny decoders of pictures."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from tiny_hub import tiny_hub_model
from tiny_vision import SIDE, tiny_emu3, tiny_janus

from unimm_eval.adapters import emu3
from unimm_eval.adapters.emu3 import Emu3
from unimm_eval.adapters.hf import HubModel
from unimm_eval.adapters.janus import Janus
from unimm_eval.api import (
    ChatRequest,
    ImageRequest,
    Picture,
    SampleError,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.engine.registry import find_adapter

KINDS = {Janus: tiny_janus, Emu3: tiny_emu3}


@pytest.fixture(scope="module", autouse=True)
def _small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emu3, "AREA", SIDE * SIDE)
        yield


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.model_type)
def spec(request, tmp_path_factory):
    folder = KINDS[request.param](tmp_path_factory.mktemp("made") / request.param.model_type)
    return f"{request.param.prefix}{folder}"


@pytest.fixture(scope="module")
def model(spec):
    return load(spec)


@pytest.fixture(scope="module")
def janus(tmp_path_factory):
    return tiny_janus(tmp_path_factory.mktemp("made") / "janus")


def load(spec):
    return find_adapter(spec).load(spec, device="cpu", dtype="auto")


def image(prompt, **fields):
    fields = {"guidance_scale": 3.0, "num_inference_steps": 3, **fields}
    return ImageRequest(sample_id=prompt, key="k", prompt=prompt, **fields)


def as_drawn(values, processor):
    """Pixels of 0 to 255 of what was normalised."""
    of = processor.image_processor
    return (values * np.array(of.image_std) + np.array(of.image_mean)).clip(0, 1) * 255


def test_batches_change_nothing(model):
    requests = [
        image("a red ring", seed=2**62),
        image("a red ring", seed=1),
        image("two blue rings and a longer text", seed=1),
        image("a red ring", seed=1, guidance_scale=9.0),
        image("a red ring", seed=1, guidance_scale=1.0),
        image("a red ring", seed=1, num_inference_steps=50),
    ]
    together = model.generate_images(requests)
    alone = [model.generate_images([request])[0] for request in requests]
    backwards = model.generate_images(requests[::-1])[::-1]
    for others in zip(together, alone, backwards, strict=True):
        assert {(one.shape, one.dtype.name) for one in others} == {((SIDE, SIDE, 3), "uint8")}
        assert np.ptp(np.stack(others).astype(int), axis=0).max() <= 1  # of 255
    for index, one in enumerate(together[:5]):
        assert all((one != other).any() for other in together[index + 1 : 5])
    assert np.abs(together[1].astype(int) - together[5]).max() <= 1  # steps mean nothing here


def test_what_the_steps_mean_is_said(model):
    assert "no meaning" in model.describe()["num_inference_steps"]
    assert model.describe()["picture_tokens"] in (16, 4 * 5)
    with pytest.raises(UserError, match="heun cannot be asked for"):
        model.generate_images([image("a ring", solver="heun")])


def test_janus_draws_from_what_transformers_guides(janus):
    """Of the likeliest token alone, the picture is that of transformers' own greedy loop."""
    model = load(f"janus:{janus}")
    model._model.generation_config.top_k = 1
    (found,) = model.generate_images([image("a red ring", guidance_scale=5.0, seed=7)])
    processor = transformers.AutoProcessor.from_pretrained(janus)
    plain = transformers.JanusForConditionalGeneration.from_pretrained(janus).eval()
    messages = [{"role": "user", "content": [{"type": "text", "text": "a red ring"}]}]
    shown = processor.apply_chat_template(messages, add_generation_prompt=True)
    given = processor(text=[shown], generation_mode="image", return_tensors="pt")
    tokens = plain.generate(
        **given, generation_mode="image", guidance_scale=5.0, do_sample=False, num_beams=1
    )
    (values,) = plain.decode_image_tokens(tokens)
    assert np.abs(found - as_drawn(values.detach().numpy(), processor)).max() <= 1


def test_emu3_draws_from_what_transformers_guides(tmp_path):
    """As the model's page does it: a negative prompt, and a function that keeps the size."""
    folder = tiny_emu3(tmp_path / "emu3")
    model = load(f"emu3:{folder}")
    model._model.generation_config.top_k = 1
    (found,) = model.generate_images([image("a red ring", seed=7)])
    processor = transformers.AutoProcessor.from_pretrained(folder)
    plain = transformers.Emu3ForConditionalGeneration.from_pretrained(folder).eval()
    kwargs = {"return_for_image_generation": True, "image_area": SIDE * SIDE}
    given, empty = (
        processor(text=[text], return_tensors="pt", **kwargs) for text in ("a red ring", "")
    )
    ((height, width),) = given.pop("image_sizes")
    start = given["input_ids"].shape[1]
    vocabulary = plain.vocabulary_mapping

    def allowed(row, ids):
        last = (len(ids) - start) % (width + 1) == width
        return [vocabulary.eol_token_id] if last else vocabulary.image_tokens

    tokens = plain.generate(
        **given,
        max_new_tokens=height * (width + 1),
        prefix_allowed_tokens_fn=allowed,
        negative_prompt_ids=empty["input_ids"],
        negative_prompt_attention_mask=empty["attention_mask"],
        guidance_scale=3.0,
        do_sample=False,
    )[:, start:]
    tokens = torch.nn.functional.pad(tokens, (0, 3))
    (values,) = plain.decode_image_tokens(image_tokens=tokens, height=height, width=width)
    assert np.abs(found - as_drawn(values.movedim(0, -1).numpy(), processor)).max() <= 1


def test_questions_are_answered_as_by_hf(spec, model):
    """One checkpoint, one answer; what is drawn is drawn by the request's seed."""
    picture = Picture(array=np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    requests = [
        ChatRequest(
            sample_id="s", parts=(picture, text), max_new_tokens=8, temperature=heat, seed=seed
        )
        for text in ("what", "what is in the picture")
        for heat, seed in ((0.0, 0), (1.0, 1), (1.0, 2))
    ]
    folder = spec.partition(":")[2]
    told = HubModel.load(f"hf:{folder}", device="cpu", dtype="auto").generate_text(requests)
    found = model.generate_text(requests)
    assert found == told
    assert len(set(found)) == len(found)


def test_a_run_of_both_halves(spec, tmp_path):
    record = evaluate(
        spec, ["vqa16:mini", "geneval:mini"], limit=2, device="cpu", output=tmp_path / "run"
    )
    assert record.get("geneval:mini", "images").n == 8
    assert sum(row.n for row in record.results if row.task == "vqa16:mini") > 0
    assert all(row.unscored == 0 for row in record.results)
    assert "no meaning" in record.model.facts["num_inference_steps"]


def test_a_model_can_do_what_was_promised(spec, model):
    kind = find_adapter(spec)
    assert type(model) is kind
    promised = kind.capabilities_for(spec)
    assert promised == kind.capabilities == capabilities_of(model)
    with pytest.raises(UserError, match="cannot run cc12m:mini: it lacks DenoisesImages"):
        evaluate(spec, "cc12m:mini", output="nowhere")


def test_what_cannot_be_loaded_is_named(janus, tmp_path):
    text = tiny_hub_model(tmp_path / "text")
    with pytest.raises(UserError, match=r"is a llama, and no janus, which(?s:.)*hf:"):
        Janus.capabilities_for(f"janus:{text}")
    with pytest.raises(UserError, match="is a janus, and no emu3"):
        Emu3.load(f"emu3:{janus}", device="cpu", dtype="auto")
    with pytest.raises(UserError, match=r"no folder and no repository(?s:.)*janus:ORG/NAME"):
        Janus.capabilities_for("janus:./nowhere")
    pickled = shutil.copytree(janus, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"janus:.* no weights in safetensors, only pytorch_model"):
        Janus.capabilities_for(f"janus:{pickled}")
    mute = shutil.copytree(janus, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="this janus has no chat template"):
        Janus.capabilities_for(f"janus:{mute}")
    less = shutil.copytree(janus, tmp_path / "less")
    config = json.loads((less / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (less / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"lacks \d+ weights, which would be random"):
        Janus.load(f"janus:{less}", device="cpu", dtype="auto")


def test_a_prompt_that_does_not_fit_is_its_samples_fault(janus):
    model = load(f"janus:{janus}")
    with pytest.raises(SampleError, match=r"needs [\d,]+ tokens, but janus has room for 1,024"):
        model.generate_images([image("ring " * 300)])


def test_the_fingerprint_is_of_the_files(janus, tmp_path):
    same = shutil.copytree(janus, tmp_path / "same")
    assert load(f"janus:{same}").fingerprint == load(f"janus:{janus}").fingerprint
    (same / "generation_config.json").write_text('{"temperature": 0.5, "do_sample": true}')
    assert load(f"janus:{same}").fingerprint != load(f"janus:{janus}").fingerprint
