"""CLIPScore: how near a picture is to its caption for CLIP.

100 · cos of the two features (Hessel et al., 2021, without their prefix and their factor of 2.5),
as torchmetrics computes it; the network is OpenAI's ViT-L/14 in open_clip, which cuts captions at
77 tokens. It is the network that tells the colours of GenEval.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.judges.batches import exact_float32, in_batches
from unimm_eval.judges.clip_colors import ARCHITECTURE, WEIGHTS, load_clip

LABEL = f"open_clip {ARCHITECTURE} (OpenAI)"

__all__ = ["LABEL", "WEIGHTS", "ClipScore"]


class ClipScore:
    """A loaded network."""

    def __init__(self, model: Any, tokenizer: Any, *, device: str, batch_size: int) -> None:
        from open_clip.transform import image_transform

        self._model = model.to(device).eval()
        self._tokenizer = tokenizer
        self._device = device
        self._batch_size = batch_size
        self._transform = image_transform(
            model.visual.image_size,
            is_train=False,
            resize_mode="shortest",
            interpolation="bicubic",
        )

    @classmethod
    def load(cls, folder: Path, *, device: str, batch_size: int) -> "ClipScore":
        """Raises UserError when the folder's weights cannot be used."""
        import open_clip

        tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
        return cls(load_clip(folder), tokenizer, device=device, batch_size=batch_size)

    def scores(self, pictures: Sequence[np.ndarray], captions: Iterable[str]) -> Iterator[float]:
        """100 · cos of each uint8 [height, width, 3] and its caption, in −100..100."""
        from PIL import Image

        inputs = (self._transform(Image.fromarray(picture)) for picture in pictures)
        seen = in_batches(
            self._model.encode_image, inputs, batch_size=self._batch_size, device=self._device
        )
        for caption, picture_D in zip(captions, seen, strict=True):
            text_D = self._read(caption)
            lengths = np.linalg.norm(text_D) * np.linalg.norm(picture_D)
            yield 100 * float(text_D @ picture_D / lengths)

    def _read(self, caption: str) -> np.ndarray:
        import torch

        with torch.inference_mode(), exact_float32():
            tokens = self._tokenizer([caption]).to(self._device)
            features: np.ndarray = self._model.encode_text(tokens)[0].float().cpu().numpy()
        return features
