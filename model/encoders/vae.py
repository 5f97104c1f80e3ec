"""Variational autoencoders of diffusers as encoders (paper appendix E.4): SD-VAE and FLUX.1's.

A 256² picture becomes a map of 32 × 32. PixelUnshuffle(2) moves each square of four of its points
into the channels of one token: 256 tokens. The paper shuffles the model's output back before the
loss. That is a permutation of the elements of a picture, and the flow loss is a mean over them, so
it is the same number without; the shuffle back happens when a picture is decoded.

A latent is the posterior's mean, not a sample: the same picture has the same latent, always.

Shapes: I pictures, T tokens a picture, C latent channels.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unimm_eval.model.encoders.base import Encoder
from unimm_eval.model.encoders.pictures import (
    HALF,
    central_square,
    rescaled,
    resized,
    to_pictures,
    to_planes,
)
from unimm_eval.model.encoders.weights import Weights, fingerprint, from_folder, frozen, library

SHUFFLE = 2
"""Points a side of the latent map that one token holds."""


def unshuffled(map_ICHW: Tensor) -> Tensor:
    """PixelUnshuffle: [I, c, h, w] → tokens [I, h·w/4, 4c]."""
    return F.pixel_unshuffle(map_ICHW, SHUFFLE).flatten(2).transpose(1, 2)


def shuffled(tokens_ITC: Tensor) -> Tensor:
    """PixelShuffle, the inverse of `unshuffled`."""
    grid = round(tokens_ITC.shape[1] ** 0.5)
    return F.pixel_shuffle(tokens_ITC.transpose(1, 2).unflatten(2, (grid, grid)), SHUFFLE)


@dataclass(frozen=True, kw_only=True)
class KlVae(Encoder):
    """A frozen AutoencoderKL: latents are (mean − shift_factor) · scaling_factor."""

    map_channels: ClassVar[int]

    weights: Weights
    picture_size: int = 256
    network: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if type(self.picture_size) is not int or self.picture_size < 1:
            raise ValueError(
                f"picture_size must be a whole number from 1, not {self.picture_size!r}"
            )
        if self.picture_size % (8 * SHUFFLE):
            raise ValueError(f"picture_size {self.picture_size} is not a multiple of 16")

    @property
    def grid(self) -> int:
        return self.picture_size // (8 * SHUFFLE)

    @property
    def channels(self) -> int:
        return self.map_channels * SHUFFLE**2

    @property
    def pinned(self) -> bool:
        return bool(self.weights.sha256)

    def check(self) -> None:
        config, where = self.weights.config(), f"{self.weights.source}: "
        if config.get("_class_name") != "AutoencoderKL":
            raise ValueError(f"{where}not an AutoencoderKL but {config.get('_class_name')!r}")
        if config.get("latent_channels") != self.map_channels:
            found = config.get("latent_channels")
            raise ValueError(f"{where}latent_channels is {found!r}, not {self.map_channels}")
        if len(config.get("block_out_channels", ())) != 4:  # three halvings
            raise ValueError(f"{where}it does not make maps of an eighth of a picture's size")
        library("diffusers")

    def load(self, *, device: torch.device, dtype: torch.dtype) -> Self:
        self.check()
        from diffusers import AutoencoderKL

        network = from_folder(AutoencoderKL, self.weights.folder())
        names = ("scaling_factor", "shift_factor", "norm_num_groups", "act_fn")
        facts = {name: network.config[name] for name in names}
        weights = self.weights.pinned(fingerprint(network.state_dict(), facts))
        network = frozen(network, device=device, dtype=dtype)
        return replace(self, weights=weights, network=network)

    def fit(self, picture: Tensor) -> Tensor:
        return resized(central_square(picture), self.picture_size, "bicubic")

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        network, shift, scale = self._loaded()
        planes = to_planes(pictures.to(network.device), HALF, HALF).to(network.dtype)
        mean: Tensor = network.encode(planes).latent_dist.mode()
        return unshuffled((mean.float() - shift) * scale).to(pictures.device)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        network, shift, scale = self._loaded()
        maps = shuffled(latents.to(network.device)) / scale + shift
        planes: Tensor = network.decode(maps.to(network.dtype), return_dict=False)[0]
        return to_pictures(rescaled(planes, HALF, HALF)).to(latents.device)

    def _loaded(self) -> tuple[Any, float, float]:
        """The network, its shift and its scale."""
        if self.network is None:
            raise RuntimeError("an encoder is loaded before it is used")
        config = self.network.config
        return self.network, config.shift_factor or 0.0, config.scaling_factor

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "picture_size": self.picture_size,
            "weights": self.weights.to_json(),
        }


_SD_VAE = Weights(source="stabilityai/sd-vae-ft-mse")
_FLUX_VAE = Weights(source="black-forest-labs/FLUX.1-schnell", subfolder="vae")


@dataclass(frozen=True, kw_only=True)
class SdVae(KlVae):
    """Stable Diffusion's: 16 channels a token."""

    kind: ClassVar[str] = "sd_vae"
    map_channels = 4

    weights: Weights = _SD_VAE


@dataclass(frozen=True, kw_only=True)
class FluxVae(KlVae):
    """FLUX.1's: 64 channels a token."""

    kind: ClassVar[str] = "flux_vae"
    map_channels = 16

    weights: Weights = _FLUX_VAE
