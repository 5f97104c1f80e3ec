"""LPIPS: how far apart two pictures look (Zhang et al., CVPR 2018), by the lpips package.

Version 0.1 on AlexNet. The linear weights come with the package; the backbone is torchvision's and
read from a file here, because the package would download it.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.judges.batches import BROKEN, exact_float32, in_batches

if TYPE_CHECKING:
    from torch import Tensor

FILE = "judges/lpips/alexnet-owt-7be5be79.pth"
LABEL = "lpips 0.1, AlexNet"
LEAST_SIDE = 31
"""Pixels below which nothing is left after AlexNet's two poolings."""


class LpipsDistance:
    """A loaded network."""

    def __init__(self, path: Path, *, device: str) -> None:
        """`path` is torchvision's AlexNet. Raises UserError when it is not."""
        self._network = _load(path).to(device).eval()
        self._device = device

    def to_others(self, pictures: Sequence[np.ndarray]) -> list[float | None]:
        """Mean distance of each uint8 [height, width, 3] to the others; None where there are none
        of its size, and for pictures too small for the network."""
        import torch

        inputs = [_as_input(picture).to(self._device) for picture in pictures]
        found: list[list[float]] = [[] for _ in pictures]
        with torch.inference_mode(), exact_float32():
            for i, first in enumerate(inputs):
                for j, second in enumerate(inputs[:i]):
                    if first.shape == second.shape and min(first.shape[2:]) >= LEAST_SIDE:
                        distance = float(self._network(first, second))
                        found[i].append(distance)
                        found[j].append(distance)
        return [float(np.mean(distances)) if distances else None for distances in found]

    def to_one(
        self, pictures: Sequence[np.ndarray], one: np.ndarray, *, batch_size: int = 32
    ) -> list[float]:
        """Distance of each uint8 [height, width, 3] to `one`, all of one size. Raises ValueError
        for pictures too small for the network."""
        if min(one.shape[:2]) < LEAST_SIDE:
            raise ValueError(f"LPIPS needs pictures of {LEAST_SIDE} pixels, not {one.shape[:2]}")
        target = _as_input(one).to(self._device)
        inputs = (_as_input(picture)[0] for picture in pictures)
        distances = in_batches(
            lambda batch: self._network(batch, target.expand_as(batch)).flatten(1),
            inputs,
            batch_size=batch_size,
            device=self._device,
        )
        return [float(distance[0]) for distance in distances]


def _as_input(picture: np.ndarray) -> "Tensor":
    """float32 [1, 3, height, width] in −1..1."""
    import torch

    return torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1


def _load(path: Path) -> Any:
    import lpips
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision by old names
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    try:
        backbone = torch.load(path, weights_only=True, map_location="cpu")
        # "slice2.3.weight" of the package is "features.3.weight" of torchvision.
        names = list(network.net.state_dict())
        wanted = {name: backbone[f"features.{name.partition('.')[2]}"] for name in names}
        network.net.load_state_dict(wanted)
    except (*BROKEN, TypeError) as error:
        raise UserError(
            f"{path} is not torchvision's AlexNet: {error}", fix="Fetch the weights again."
        ) from error
    return network
