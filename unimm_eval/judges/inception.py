"""Features that Fréchet Inception distances compare: three definitions, never mixed.

All are the 2,048 pooled features of the Inception network of 2015 (TensorFlow's weights) for a
picture of 299 x 299, and differ in how a picture gets there, which moves an FID by whole points
(Parmar, Zhang & Zhu, *On aliased resizing*, CVPR 2022):

clean           clean-fid: each channel by Pillow's antialiased bicubic filter, kept as floats;
                NVIDIA's TorchScript copy of the network
torch-fidelity  TensorFlow 1's bilinear filter without antialiasing, as the first FIDs had it;
                torch-fidelity's copy of the network
torchmetrics    torch's bilinear filter with antialiasing, the default of torchmetrics since 1.8;
                the same copy

Resizing and networks are those libraries' own.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.judges.batches import BROKEN, in_batches

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FEATURES = 2048
SIZE = 299
DefinitionName = Literal["clean", "torch-fidelity", "torchmetrics"]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """`label` names it in a record; `file` holds the weights, under the data folder; `resize` makes
    float32 [3, 299, 299] in 0..255 of uint8 [height, width, 3]; `load` gives a network that expects
    batches of (what `resize` makes − 128) / 128."""

    label: str
    file: str
    resize: "Callable[[np.ndarray], Tensor]"
    load: "Callable[[Path], Module]"


def _clean(picture: np.ndarray) -> "Tensor":
    import torch
    from cleanfid.resize import build_resizer

    return torch.from_numpy(build_resizer("clean")(picture)).permute(2, 0, 1)


def _tensorflow(picture: np.ndarray) -> "Tensor":
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(
        _as_batch(picture), size=(SIZE, SIZE), align_corners=False
    )
    return resized[0]


def _antialiased(picture: np.ndarray) -> "Tensor":
    import torch

    return torch.nn.functional.interpolate(
        _as_batch(picture), size=(SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
    )[0]


def _as_batch(picture: np.ndarray) -> "Tensor":
    import torch

    return torch.tensor(picture).permute(2, 0, 1)[None].float()


def _load_torchscript(path: Path) -> "Module":
    import torch
    from cleanfid.inception_torchscript import InceptionV3W

    return torch.nn.Sequential(
        InceptionV3W(str(path.parent), download=False).layers, torch.nn.Flatten()
    )


def _load_torch_fidelity(path: Path) -> "Module":
    """The layers of torch-fidelity's extractor, which stand in a row, up to the pooling."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The extractor unpickles whatever it is given: it gets a copy of what was read safely.
    copy = io.BytesIO()
    torch.save(torch.load(path, weights_only=True, map_location="cpu"), copy)
    copy.seek(0)
    whole = FeatureExtractorInceptionV3(
        "inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=copy
    )
    *layers, _ = whole.children()
    return torch.nn.Sequential(*layers, torch.nn.Flatten())


_TORCH_FIDELITY = "judges/fid/weights-inception-2015-12-05-6726825d.pth"
DEFINITIONS: dict[DefinitionName, Definition] = {
    "clean": Definition(
        label="clean-fid (bicubic, antialiased)",
        file="judges/fid/inception-2015-12-05.pt",
        resize=_clean,
        load=_load_torchscript,
    ),
    "torch-fidelity": Definition(
        label="torch-fidelity (TensorFlow's bilinear, antialias=False)",
        file=_TORCH_FIDELITY,
        resize=_tensorflow,
        load=_load_torch_fidelity,
    ),
    "torchmetrics": Definition(
        label="torchmetrics (bilinear, antialias=True)",
        file=_TORCH_FIDELITY,
        resize=_antialiased,
        load=_load_torch_fidelity,
    ),
}


class Inception:
    """A loaded network under one definition."""

    def __init__(self, definition: Definition, path: Path, *, device: str, batch_size: int) -> None:
        """Raises UserError when `path` does not hold the weights."""
        self._resize = definition.resize
        self._device = device
        self._batch_size = batch_size
        try:
            self._network = definition.load(path).to(device).eval()
        except (*BROKEN, AttributeError) as error:
            raise UserError(
                f"{path} cannot be loaded as {definition.label}: {error}",
                fix="Fetch the weights again.",
            ) from error

    def features(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """float32 [2048] of each uint8 [height, width, 3], in order; pictures are taken as they are
        needed and may differ in size."""
        inputs = ((self._resize(picture) - 128) / 128 for picture in pictures)
        return in_batches(self._network, inputs, batch_size=self._batch_size, device=self._device)
