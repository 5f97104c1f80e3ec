"""The colour of an object by CLIP, as GenEval's released evaluator asks for it.

Ten colours, three templates each; a template's text features are normalized, averaged and
normalized again (clip_benchmark's zero-shot classifier); the colour nearest to the picture's
feature wins. The picture is the object on gray (#999999), cut to its box. The network is OpenAI's
ViT-L/14 in open_clip, which must run with QuickGELU: with GELU it would run and be wrong.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.judges.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
TEMPLATES = (
    "a photo of a {color} {name}",
    "a photo of a {color}-colored {name}",
    "a photo of a {color} object",
)
BACKGROUND = 0x99
ARCHITECTURE = "ViT-L-14-quickgelu"
WEIGHTS = Weights(
    name="clip-vit-l-14-openai",
    files=("open_clip_model.safetensors",),
    repo="timm/vit_large_patch14_clip_224.openai",
    obtain="unimm-eval data fetch geneval gets them (1.7 GB). By hand: hf download "
    "timm/vit_large_patch14_clip_224.openai open_clip_model.safetensors --local-dir {folder}",
)
_CROPS_AT_ONCE = 64


class ClipColors:
    """A loaded classifier of colours."""

    def __init__(self, model: Any, tokenizer: Any, *, device: str) -> None:
        from open_clip.transform import image_transform

        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._transform = image_transform(
            model.visual.image_size,
            is_train=False,
            resize_mode="shortest",
            interpolation="bicubic",
        )
        self._classifier = lru_cache(maxsize=None)(self._make_classifier)

    @classmethod
    def load(cls, folder: Path, *, device: str) -> "ClipColors":
        """From a folder with `open_clip_model.safetensors`. An `open_clip_config.json` beside it
        says another architecture than ViT-L/14. Raises UserError when that is without QuickGELU or
        the weights do not fit."""
        import open_clip

        return cls(load_clip(folder), open_clip.get_tokenizer(ARCHITECTURE), device=device)

    def classify(self, crops: Sequence[tuple[str, np.ndarray]]) -> list[str]:
        """The colour of each (class name, uint8 [height, width, 3] crop)."""
        import torch
        from PIL import Image

        found: list[str] = []
        with torch.inference_mode(), self._autocast():
            for start in range(0, len(crops), _CROPS_AT_ONCE):
                part = crops[start : start + _CROPS_AT_ONCE]
                pixels = torch.stack([self._transform(Image.fromarray(crop)) for _, crop in part])
                features_BD = _normalized(self._model.encode_image(pixels.to(self._device)))
                for feature_D, (name, _) in zip(features_BD, part, strict=True):
                    found.append(COLORS[int((feature_D @ self._classifier(name)).argmax())])
        return found

    def _make_classifier(self, name: str) -> "Tensor":
        """Text features of the colours of a class, [features, colours]."""
        import torch

        texts = [
            template.format(color=color, name=name) for color in COLORS for template in TEMPLATES
        ]
        features = _normalized(self._model.encode_text(self._tokenizer(texts).to(self._device)))
        mean_CD = features.reshape(len(COLORS), len(TEMPLATES), -1).mean(1)
        return torch.transpose(_normalized(mean_CD), 0, 1)

    def _autocast(self) -> Any:
        """float16 on a GPU, as the released evaluator runs it; float32 on a CPU."""
        import torch

        kind = torch.device(self._device).type
        return torch.autocast(kind, dtype=torch.float16, enabled=kind == "cuda")


def load_clip(folder: Path) -> Any:
    """The network, on the CPU, as `ClipColors.load` says. Raises UserError."""
    import open_clip
    from safetensors import SafetensorError

    weights = folder / WEIGHTS.files[0]
    if (folder / "open_clip_config.json").is_file():
        _check_quick_gelu(folder / "open_clip_config.json")
        name, pretrained = f"local-dir:{folder}", None
    else:
        name, pretrained = ARCHITECTURE, str(weights)
    try:
        return open_clip.create_model(name, pretrained=pretrained)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise UserError(
            f"{weights} cannot be loaded as {ARCHITECTURE}: {error}",
            fix="Fetch the weights again.",
        ) from error


def masked_crop(
    picture: np.ndarray, box: tuple[int, int, int, int], mask: np.ndarray
) -> np.ndarray:
    """What `box` shows of a uint8 picture, gray where `mask` (of the box's size) is False."""
    left, top, right, bottom = box
    gray = np.full((1, 1, 3), BACKGROUND, np.uint8)
    return np.where(mask[:, :, None], picture[top:bottom, left:right], gray)


def _normalized(features: "Tensor") -> "Tensor":
    return features / features.norm(dim=-1, keepdim=True)


def _check_quick_gelu(path: Path) -> None:
    try:
        quick = json.loads(path.read_text(encoding="utf-8"))["model_cfg"].get("quick_gelu")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a configuration of open_clip: {error}") from error
    if quick is not True:
        raise UserError(
            f"{path} is of a network without QuickGELU; OpenAI's weights need it.",
            fix='Set "quick_gelu": true in model_cfg, or remove the file.',
        )
