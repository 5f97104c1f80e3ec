"""The network whose features `fid:mini` compares: what stands in each quarter of a picture?

Trained by `bench/fid_classifier.py` on pictures of the world's training split to name shape, colour
and size of what each quarter holds. Its weights are shipped, not made anew, because training is not
the same to the last bit on every machine, and features of another network are another metric.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimm_eval.judges.batches import in_batches

if TYPE_CHECKING:
    from torch import Tensor, nn

FEATURES = 32
CANVAS = 32
WEIGHTS = Path(__file__).with_name("classifier.safetensors")
_BATCH = 1  # so small a network gains nothing from more


def make_network() -> "nn.Sequential":
    """Pictures float32 [B, 3, 32, 32] in −1..1 → features [B, 32]."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, FEATURES),
    )


@lru_cache(maxsize=1)
def weights_sha256() -> str:
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _network() -> "nn.Sequential":
    from safetensors.torch import load_file

    network = make_network().eval()
    network.load_state_dict(load_file(WEIGHTS))
    return network


def as_input(pictures: np.ndarray) -> "Tensor":
    """uint8 [..., 32, 32, 3] → float32 [..., 3, 32, 32] in −1..1."""
    import torch

    return torch.tensor(pictures).movedim(-1, -3).float() / 127.5 - 1


def features_of(pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """float32 [32] of each uint8 [height, width, 3]; the network knows the world's canvas of
    32 x 32, and other sizes are averaged down to it."""
    inputs = (as_input(_on_canvas(picture)) for picture in pictures)
    return in_batches(_network(), inputs, batch_size=_BATCH, device="cpu")


def _on_canvas(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    if picture.shape[:2] == (CANVAS, CANVAS):
        return picture
    resized = Image.fromarray(picture).resize((CANVAS, CANVAS), Image.Resampling.BOX)
    return np.asarray(resized)
