"""The detector: what it is shown, and what it makes of the network's answer, by plain loops."""

import json

import numpy as np
import pytest
import torch
from tiny_judges import save_mask2former, tiny_mask2former
from torch.nn import functional

from unimm_eval.api import UserError
from unimm_eval.judges.mask2former import (
    COCO_CLASSES,
    VARIANTS,
    Mask2Former,
    check_config,
    full_float32,
    prepare,
    resized,
)


@pytest.fixture(scope="module")
def network():
    return tiny_mask2former()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 2, 8, 3), dtype=np.uint8)
    return list(coarse.repeat(6, 1).repeat(12, 2))  # 12 x 96: small, still, after the resize


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (800, 800)),
        ((1024, 1024), (800, 800)),
        ((1024, 512), (1333, 667)),  # int(666.5 + 0.5)
        ((480, 640), (800, 1067)),
        ((800, 1333), (800, 1333)),
        ((1, 3000), (1, 1333)),
    ],
)
def test_the_size_fits_into_1333_by_800_either_way_up(size, expected):
    assert resized(*size) == expected
    assert resized(*size[::-1]) == expected[::-1]


def test_padding_is_gray_before_it_is_normalized():
    pixels = torch.randint(0, 256, (1, 3, 800, 1333), dtype=torch.uint8)
    x, inner = prepare(pixels)
    assert inner == (800, 1333)
    assert x.shape == (1, 3, 800, 1344)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(x[0, :, 5, 7], (pixels[0, :, 5, 7] - mean) / std)
    torch.testing.assert_close(x[0, :, 799, 1340], (128 - mean) / std)


def test_pixels_are_whole_numbers_after_the_resize():
    pixels = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    x, _ = prepare(pixels)
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    values = x[0] * std[:, None, None] + mean[:, None, None]
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)


def by_loops(network, picture):
    """Every one of the 100 best pairs, one mask at a time."""
    height, width = picture.shape[:2]
    x, inner = prepare(torch.from_numpy(picture).permute(2, 0, 1)[None])
    with torch.inference_mode():
        out = network(pixel_values=x)
    chances = out.class_queries_logits[0].softmax(-1)[:, :80]
    pairs = [(chances[q, c].item(), q, c) for q in range(len(chances)) for c in range(80)]
    found = []
    for chance, query, label in sorted(pairs, reverse=True)[:100]:
        mask = out.masks_queries_logits[0, query][None, None]
        mask = functional.interpolate(mask, size=x.shape[2:], mode="bilinear")
        mask = mask[..., : inner[0], : inner[1]]
        mask = functional.interpolate(mask, size=(height, width), mode="bilinear")[0, 0]
        rows, columns = np.nonzero((mask > 0).numpy())
        if len(rows):
            score = chance * mask[mask > 0].sigmoid().mean().item()
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            found.append((label, box, score, (mask > 0).numpy()))
    return found


@pytest.fixture(scope="module")
def found(network, pictures):
    return Mask2Former(network, device="cpu").detect(pictures)


def test_detections_equal_plain_loops(network, pictures, found):
    expected = by_loops(network, pictures[0])
    assert len(found[0]) == len(expected) > 20
    key = lambda row: (-row[2], row[0])  # noqa: E731
    ours = [(each.label, each.box, each.score, each.mask.numpy()) for each in found[0]]
    for (label, box, score, mask), theirs in zip(
        sorted(ours, key=key), sorted(expected, key=key), strict=True
    ):
        assert (label, box) == theirs[:2]
        assert score == pytest.approx(theirs[2], abs=1e-5)
        left, top, right, bottom = box
        assert (mask == theirs[3][top:bottom, left:right]).all()


def test_a_floor_leaves_out_what_is_below_it_and_nothing_else(network, pictures, found):
    scores = sorted(each.score for each in found[0])
    floor = scores[len(scores) // 2]
    above = Mask2Former(network, device="cpu").detect(pictures[:1], floor=floor)[0]
    expected = [each for each in found[0] if each.score > floor]
    assert len(above) == len(expected) < len(found[0])
    for one, two in zip(above, expected, strict=True):
        assert (one.label, one.box) == (two.label, two.box)
        assert one.score == pytest.approx(two.score, abs=1e-5)


def test_pictures_of_one_batch_are_of_one_size(network, pictures):
    with pytest.raises(ValueError, match="one size"):
        Mask2Former(network, device="cpu").detect([pictures[0], pictures[1][:6]])


def test_the_float32_guard_restores_what_it_found():
    torch.set_float32_matmul_precision("high")
    try:
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_another_order_of_classes_is_refused(tmp_path):
    save_mask2former(tmp_path)
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == 80
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["id2label"]["0"], config["id2label"]["1"] = "bicycle", "person"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"bicycle, person, car, …\) instead of COCO's 80"):
        Mask2Former.load(tmp_path, device="cpu")
    config["id2label"]["0"], config["id2label"]["1"] = "person", "bicycle"
    config["id2label"] |= {"3": "motorbike", "57": "sofa", "58": "pottedplant", "62": "tvmonitor"}
    path.write_text(json.dumps(config))
    check_config(tmp_path)  # the hub's spelling
    path.write_text("{")
    with pytest.raises(UserError, match="not the configuration of a detector"):
        Mask2Former.load(tmp_path, device="cpu")


def test_damaged_weights_are_told(tmp_path):
    save_mask2former(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be loaded"):
        Mask2Former.load(tmp_path, device="cpu")


@pytest.mark.parametrize("name", VARIANTS)
def test_missing_weights_are_told_with_their_place_and_the_way_to_get_them(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args: None)
    with pytest.raises(UserError) as caught:
        VARIANTS[name].weights.find(tmp_path)
    assert f"{tmp_path}/judges/{name} lacks model.safetensors, config.json" in caught.value.what
    assert "unimm-eval data fetch geneval" in caught.value.fix
    assert str(tmp_path) in caught.value.fix


def test_the_hubs_cache_is_looked_at(tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshot"
    save_mask2former(snapshot)
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda repo, name: str(snapshot / name)
    )
    assert VARIANTS["mask2former-hf"].weights.find(tmp_path) == snapshot


def test_what_was_never_compared_says_so():
    assert VARIANTS["mask2former-official"].label == "mask2former-official (unverified)"
    assert VARIANTS["mask2former-hf"].label == "mask2former-hf"
