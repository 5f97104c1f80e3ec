"""Colours by CLIP: the ensemble of templates, the gray background, and what must not be loaded."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_judges import save_clip

from unimm_eval.api import UserError
from unimm_eval.judges.clip_colors import COLORS, ClipColors, masked_crop


@pytest.fixture
def folder(tmp_path):
    save_clip(tmp_path)
    return tmp_path


def crops(count=5):
    rng = np.random.default_rng(1)
    colors = rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return [color.repeat(20 + 7 * i, 0).repeat(50, 1) for i, color in enumerate(colors)]


def naive(folder, name, crop):
    """clip_benchmark's zero-shot classifier, written out."""
    import open_clip

    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer("ViT-L-14-quickgelu")
    columns = []
    for color in COLORS:
        each = []
        for text in (f"{color} {name}", f"{color}-colored {name}", f"{color} object"):
            feature = model.encode_text(tokenizer([f"a photo of a {text}"]))[0]
            each.append(feature / feature.norm())
        mean = torch.stack(each).mean(0)
        columns.append(mean / mean.norm())
    image = Image.fromarray(crop)
    scale = 32 / min(image.size)
    size = [32 if side == min(image.size) else int(side * scale) for side in image.size]
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    top, left = (round((side - 32) / 2) for side in pixels.shape[:2])
    pixels = pixels[top : top + 32, left : left + 32]
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    x = torch.from_numpy((pixels - mean) / std).permute(2, 0, 1)[None].float()
    feature = model.encode_image(x)[0]
    return COLORS[int(((feature / feature.norm()) @ torch.stack(columns, 1)).argmax())]


def test_colors_equal_the_written_out_ensemble(folder):
    judge = ClipColors.load(folder, device="cpu")
    asked = [("car", crop) for crop in crops()] + [("potted plant", crop) for crop in crops(2)]
    with torch.inference_mode():
        expected = [naive(folder, name, crop) for name, crop in asked]
    assert judge.classify(asked) == expected
    assert [judge.classify([one])[0] for one in asked] == expected


def test_nothing_asked_is_nothing_answered(folder):
    assert ClipColors.load(folder, device="cpu").classify([]) == []


def test_what_is_not_the_object_is_gray():
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    mask = np.array([[True, False], [False, True], [True, True]])
    shown = masked_crop(picture, (1, 1, 3, 4), mask)
    assert shown.shape == (3, 2, 3)
    assert (shown[~mask] == 0x99).all()
    assert (shown[mask] == picture[1:4, 1:3][mask]).all()


def test_gelu_instead_of_quickgelu_is_refused(tmp_path):
    save_clip(tmp_path, quick_gelu=False)
    with pytest.raises(UserError, match="without QuickGELU"):
        ClipColors.load(tmp_path, device="cpu")


def test_damaged_weights_are_told(folder):
    (folder / "open_clip_model.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match="cannot be loaded"):
        ClipColors.load(folder, device="cpu")
