"""`diffusers:`: a tiny Stable Diffusion of real classes, from disk."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("diffusers")

from tiny_pipeline import tiny_pipeline

from unimm_eval.adapters import diffusers as adapter
from unimm_eval.adapters.diffusers import DiffusersPipeline
from unimm_eval.api import ImageRequest, UserError, capabilities_of
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.engine.registry import find_adapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_pipeline(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


def load(folder):
    return DiffusersPipeline.load(f"diffusers:{folder}", device="cpu", dtype="auto")


def image(prompt, **fields):
    fields = {"guidance_scale": 3.0, "num_inference_steps": 3, **fields}
    return ImageRequest(sample_id=prompt, key="k", prompt=prompt, **fields)


def test_batches_change_nothing(model):
    requests = [
        image("a red ring", seed=2**62),
        image("a red ring", seed=1),
        image("two blue rings and a longer text", seed=1),
        image("a red ring", seed=1, num_inference_steps=2),
        image("a red ring", seed=1, guidance_scale=1.0),
        image("a red ring", seed=1),
    ]
    together = model.generate_images(requests)
    alone = [model.generate_images([request])[0] for request in requests]
    for one, other in zip(together, alone, strict=True):
        assert one.shape == (32, 32, 3)
        assert one.dtype == np.uint8
        assert np.abs(one.astype(int) - other).max() <= 1  # of 255
    assert (together[1] == together[5]).all()
    differing = [together[1], together[0], together[2], together[3], together[4]]
    for index, one in enumerate(differing):
        assert all((one != other).any() for other in differing[index + 1 :])


def test_a_run_of_it(folder, tmp_path):
    spec = f"diffusers:{folder}"
    assert find_adapter(spec) is DiffusersPipeline
    record = evaluate(
        spec,
        "geneval:mini",
        limit=2,
        device="cpu",
        output=tmp_path / "run",
        settings={"geneval:mini": {"num_inference_steps": 2}},
    )
    assert record.get("geneval:mini", "images").n == 8
    assert record.model.facts["pipeline"] == "StableDiffusionPipeline"


def test_the_fingerprint_is_of_the_files(folder, model, tmp_path):
    assert DiffusersPipeline.capabilities_for(f"diffusers:{folder}") <= capabilities_of(model)
    same = shutil.copytree(folder, tmp_path / "same")
    (same / "README.md").write_text("nothing that is read")
    assert load(same).fingerprint == model.fingerprint
    scheduler = same / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"beta_end": 0.03}))
    assert load(same).fingerprint != model.fingerprint


def test_what_cannot_be_loaded_is_named(folder, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    def copied(name, **changes):
        made = shutil.copytree(folder, tmp_path / name)
        index = json.loads((made / "model_index.json").read_text())
        (made / "model_index.json").write_text(json.dumps(index | changes))
        return made

    def refused(place, match):
        with pytest.raises(UserError, match=match):
            DiffusersPipeline.capabilities_for(f"diffusers:{place}")

    refused(copied("other", _class_name="StableVideoDiffusionPipeline"), "is no pipeline that")
    refused(copied("custom", _class_name=["mine", "Mine"]), "is no pipeline that")
    empty = copied("empty")
    (empty / "model_index.json").unlink()
    refused(empty, "has no model_index.json")
    missing = copied("missing")
    shutil.rmtree(missing / "unet")
    refused(missing, "the files of its unet are missing")
    pickled = copied("pickled")
    weights = "diffusion_pytorch_model"
    (pickled / "vae" / f"{weights}.safetensors").rename(pickled / "vae" / f"{weights}.bin")
    refused(pickled, "its vae has no weights in safetensors, only diffusion_pytorch_model.bin")
    bare = copied("bare")
    (bare / "vae" / f"{weights}.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load(bare)
    less = copied("less")
    path = less / "unet" / f"{weights}.safetensors"
    tensors = load_file(path)
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, path)
    with pytest.raises(UserError, match=r"its unet lacks 1 weights|cannot be loaded"):
        load(less)
    refused("./nowhere", r"no folder and no repository(?s:.)*diffusers:ORG/NAME")
    monkeypatch.setattr(adapter.importlib.util, "find_spec", lambda name: None)
    refused(folder, r"needs diffusers(?s:.)*unimm-eval\[diffusers\]")


def test_another_solver_is_refused(model):
    with pytest.raises(UserError, match="heun cannot be asked for"):
        model.generate_images([image("a ring", solver="heun")])
