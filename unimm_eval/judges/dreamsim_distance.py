"""DreamSim: how far apart two pictures look (Fu et al., NeurIPS 2023), by the dreamsim package.

The package (`pip install dreamsim`) takes its weights and the code of DINO from a folder, and
fetches what is not in it. Nothing is fetched from here: the folder has to hold all of it.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval.api import UserError
from unimm_eval.judges.batches import BROKEN, exact_float32
from unimm_eval.judges.weights import Weights

LABEL = "dreamsim, ensemble"
WEIGHTS = Weights(
    name="dreamsim",
    files=(
        "ensemble_lora/adapter_model.safetensors",
        "ensemble_lora/adapter_config.json",
        "dino_vitb16_pretrain.pth",
        "clip_vitb16_pretrain.pth.tar",
        "open_clip_vitb16_pretrain.pth.tar",
        "facebookresearch_dino_main/hubconf.py",
    ),
    obtain='On a machine with a network, `pip install dreamsim`, then `python -c "from dreamsim '
    "import dreamsim; dreamsim(cache_dir='dreamsim', device='cpu')\"`, and put the folder at "
    "{folder}.",
)


def find(data_dir: Path) -> Path:
    """The folder of weights. Raises UserError when it or the package is not there."""
    folder = WEIGHTS.find(data_dir)
    if importlib.util.find_spec("dreamsim") is None:
        raise UserError("The package dreamsim is not there.", fix="pip install dreamsim")
    return folder


class DreamSimDistance:
    """A loaded network."""

    def __init__(self, folder: Path, *, device: str) -> None:
        """Raises UserError when `folder` does not hold it."""
        from dreamsim import dreamsim

        try:
            self._network, self._input = dreamsim(
                pretrained=True, cache_dir=str(folder), device=device, dreamsim_type="ensemble"
            )
        except BROKEN as error:
            raise UserError(
                f"{folder} does not hold DreamSim: {error}", fix="Get the weights again."
            ) from error
        self._device = device

    def between(self, frames: Sequence[np.ndarray], truths: Sequence[np.ndarray]) -> list[float]:
        """Distance of each frame to its truth, uint8 [height, width, 3] of any size."""
        import torch

        with torch.inference_mode(), exact_float32():
            pairs = zip(frames, truths, strict=True)
            return [
                float(self._network(self._as_input(frame), self._as_input(truth)))
                for frame, truth in pairs
            ]

    def _as_input(self, picture: np.ndarray) -> Any:
        from PIL import Image

        return self._input(Image.fromarray(picture)).to(self._device)
