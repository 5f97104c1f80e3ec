"""`images:DIR`: what is found, what is reported, and whose folder it is."""

import json

import numpy as np
import pytest
from PIL import Image

from unimm_eval.adapters.images import ImagesFolder
from unimm_eval.api import GeneratesImages, ImageRequest, Model, PictureError, UserError
from unimm_eval.engine.registry import find_adapter


def save(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), color).save(path)


def load(folder):
    return ImagesFolder.load(f"images:{folder}", device="cpu", dtype="auto")


def ask(model, key, repeat):
    request = ImageRequest(
        sample_id="s", repeat=repeat, prompt="", key=key, guidance_scale=1, num_inference_steps=1
    )
    return model.generate_images([request])[0][0, 0].tolist()


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "00000/samples/0000.png", (1, 0, 0))
    save(tmp_path / "00000/samples/0001.png", (2, 0, 0))
    save(tmp_path / "0001/samples/00000.png", (3, 0, 0))
    (tmp_path / "00000/metadata.jsonl").write_text('{"prompt": "a"}')
    save(tmp_path / "whoops12.png", (4, 0, 0))
    return tmp_path


def test_pictures_are_found_by_id_and_repeat(folder):
    model = load(folder)
    assert isinstance(model, Model)
    assert isinstance(model, GeneratesImages)
    assert [ask(model, "00000", 0), ask(model, "00000", 1)] == [[1, 0, 0], [2, 0, 0]]
    assert ask(model, "00001", 0) == [3, 0, 0]  # any count of digits
    assert ask(model, "whoops12", 0) == [4, 0, 0]
    assert model.metadata_of("00000") == {"prompt": "a"}
    assert model.metadata_of("00001") is None
    assert model.describe() == {"pictures": 4}
    assert model.single("00000") is None
    assert model.single("whoops12").path == folder / "whoops12.png"


def test_the_spec_finds_its_adapter(folder):
    spec = f"images:{folder}"
    assert find_adapter(spec) is ImagesFolder
    assert ImagesFolder.capabilities_for(spec) == {"GeneratesImages"}


def test_what_is_missing_is_named_with_what_is_there(folder):
    with pytest.raises(PictureError, match=r"picture 3 of 00000 is missing .*there are 0, 1"):
        ask(load(folder), "00000", 3)
    with pytest.raises(PictureError, match=r"picture 0 of 00552 is missing .*none of it"):
        ask(load(folder), "00552", 0)


def test_what_is_there_twice_is_not_chosen_from(folder):
    save(folder / "00000/samples/00001.png", (9, 0, 0))
    save(folder / "0000/samples/0.png", (9, 0, 0))
    (folder / "0000/metadata.jsonl").write_text("{}")
    model = load(folder)
    with pytest.raises(PictureError, match=r"2 times: 00000/samples/00001.png, .*/0001.png"):
        ask(model, "00000", 1)
    with pytest.raises(PictureError, match=r"0000/samples/0.png"):
        ask(model, "00000", 0)
    with pytest.raises(PictureError, match=r"00000 is there 2 times: 0000, 00000"):
        model.metadata_of("00000")


@pytest.mark.parametrize("content", [b"", b"a text", None], ids=["empty", "text", "truncated"])
def test_files_that_are_no_pictures_are_named(folder, content):
    path = folder / "00000/samples/0001.png"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)).save(path)
        content = path.read_bytes()[:3000]
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"0001\.png"):
        ask(load(folder), "00000", 1)


def test_metadata_that_is_not_json_is_named(folder):
    (folder / "00000/metadata.jsonl").write_text("prompt: a")
    with pytest.raises(PictureError, match=r"00000/metadata.jsonl is not JSON"):
        load(folder).metadata_of("00000")


def test_the_fingerprint_is_of_names_and_bytes(folder, tmp_path_factory):
    first = load(folder).fingerprint
    assert first == load(folder).fingerprint
    (folder / "notes.txt").write_text("not looked at")
    assert load(folder).fingerprint == first
    save(folder / "00000/samples/0001.png", (5, 0, 0))
    second = load(folder).fingerprint
    (folder / "00000/metadata.jsonl").write_text(json.dumps({"prompt": "b"}))
    third = load(folder).fingerprint
    (folder / "whoops12.png").rename(folder / "whoops13.png")
    assert len({first, second, third, load(folder).fingerprint}) == 4


def test_a_folder_without_pictures_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match="pictures") as caught:
            ImagesFolder.capabilities_for(f"images:{place}")
        assert "00000/samples" in caught.value.fix
