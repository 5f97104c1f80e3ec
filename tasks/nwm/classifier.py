"""The network whose features `nwm:mini` compares: how far apart were these two views taken?

Trained by `bench/room_classifier.py` on pairs of views of rooms of the world's training split. It
says of a pair for each of some radii whether the second was taken within it, by nothing but the
Euclidean distance of their features; so that distance is about the one of the poses, in waypoints,
where three go to a radian of turning. The weights are shipped, not made anew, because training is
not the same to the last bit on every machine, and another network is another metric.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unimm_eval.judges.batches import in_batches
from unimm_eval.world.scenes import CANVAS

if TYPE_CHECKING:
    from torch import Tensor, nn

FEATURES = 64
WEIGHTS = Path(__file__).with_name("classifier.safetensors")
_BATCH = 32


def make_network() -> "nn.Sequential":
    """Pictures float32 [B, 3, 32, 32] in −1..1 → features [B, 64]."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, 24, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 48, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 128),
        nn.ReLU(),
        nn.Linear(128, FEATURES),
    )


@lru_cache(maxsize=1)
def weights_sha256() -> str:
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def label() -> str:
    """Name of the distance in a record."""
    return f"features of a classifier of rooms {weights_sha256()[:16]}"


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


def features_of(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """float32 [N, 64] of uint8 [height, width, 3] each; sizes other than the world's 32 x 32 are
    averaged to it."""
    inputs = (as_input(_on_canvas(picture)) for picture in pictures)
    return np.stack(list(in_batches(_network(), inputs, batch_size=_BATCH, device="cpu")))


def _on_canvas(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    if picture.shape[:2] == (CANVAS, CANVAS):
        return picture
    return np.asarray(Image.fromarray(picture).resize((CANVAS, CANVAS), Image.Resampling.BOX))
