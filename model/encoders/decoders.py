"""Decoders of vision transformers' features, the second half of a representation autoencoder (RAE).

Two layouts are read. `AutoencoderRAE` of diffusers is encoder, latent statistics and decoder in
one. Scale-RAE publishes the decoder alone: config.json and the weights of a masked autoencoder's
decoder; a statistics.safetensors (mean, var) beside them says how its latents are normalised.

Shapes: I pictures, T tokens a picture, C latent channels, D width of the decoder, P pixels a patch.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm_eval.model.encoders.pictures import rescaled
from unimm_eval.model.encoders.weights import (
    Weights,
    fingerprint,
    from_folder,
    library,
    read_tensors,
)

STATISTICS = "statistics.safetensors"
EPS = 1e-5
"""Added to a variance of latents (RAE)."""


def is_rae(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of diffusers' AutoencoderRAE."""
    return config.get("_class_name") == "AutoencoderRAE"


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and scale of every element of a picture's latents, fp32 [T, C] each."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of_planes(cls, mean: Tensor, scale: Tensor, *, grid: int, channels: int) -> Self:
        """From [C, H, W], or what broadcasts to it. Raises ValueError for another shape."""
        shape = (1, channels, grid, grid)
        try:
            tokens = [
                torch.broadcast_to(planes.float(), shape)[0].flatten(1).T.contiguous()
                for planes in (mean, scale)
            ]
        except RuntimeError as error:
            raise ValueError(
                f"latent statistics of shape {tuple(mean.shape)} and {tuple(scale.shape)} are not "
                f"those of {channels} channels on a grid of {grid}"
            ) from error
        return cls(mean=tokens[0], scale=tokens[1])

    def normalise(self, features_ITC: Tensor) -> Tensor:
        return (features_ITC - self.mean) / self.scale

    def restore(self, latents_ITC: Tensor) -> Tensor:
        return latents_ITC * self.scale + self.mean

    def to(self, device: torch.device) -> "Statistics":
        return Statistics(mean=self.mean.to(device), scale=self.scale.to(device))


class PictureDecoder(nn.Module, ABC):
    """Latents fp32 [I, T, C] to pictures fp32 [I, 3, side, side] in [0, 1], not clipped."""

    statistics: Statistics | None
    """What the latents are normalised by, where the decoder says so."""
    sha256: str
    """Fingerprint of the weights and the statistics."""

    @abstractmethod
    def forward(self, latents_ITC: Tensor) -> Tensor: ...


class Block(nn.Module):
    """A pre-norm transformer block: all tokens see each other, GELU."""

    def __init__(self, *, dim: int, num_heads: int, hidden_dim: int, norm_eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(dim, eps=norm_eps)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.output = nn.Linear(dim, dim)
        self.norm_hidden = nn.LayerNorm(dim, eps=norm_eps)
        self.hidden = nn.Linear(dim, hidden_dim)
        self.down = nn.Linear(hidden_dim, dim)

    def forward(self, x_ITD: Tensor) -> Tensor:
        normed = self.norm_attention(x_ITD)
        q, k, v = (
            part(normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x_ITD = x_ITD + self.output(seen)
        return x_ITD + self.down(F.gelu(self.hidden(self.norm_hidden(x_ITD))))


_NAMES = {
    "decoder_embed": "embed",
    "decoder_norm": "norm",
    "decoder_pred": "pixels",
    "decoder_layers": "blocks",
    "attention.attention.query": "query",
    "attention.attention.key": "key",
    "attention.attention.value": "value",
    "attention.output.dense": "output",
    "intermediate.dense": "hidden",
    "output.dense": "down",
    "layernorm_before": "norm_attention",
    "layernorm_after": "norm_hidden",
    "decoder_pos_embed": "place",
    "trainable_cls_token": "first",
}
"""Names in published weights, longer ones before the ones that end them, and here."""

_SIZES = (
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_num_attention_heads",
    "decoder_intermediate_size",
)


class PatchDecoder(PictureDecoder):
    """The decoder of a masked autoencoder: every token becomes a patch of pixels."""

    def __init__(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        *,
        statistics: Statistics | None,
        channels: int,
        grid: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        """`mean` and `std` undo the encoder's normalisation of pixels. Raises ValueError for
        weights that do not fit."""
        super().__init__()
        dim, num_layers, num_heads, hidden_dim = (config[name] for name in _SIZES)
        norm_eps = config["layer_norm_eps"]
        renamed = {_renamed(name): tensor.float() for name, tensor in tensors.items()}
        # Published decoders may leave out the first token where it was never trained.
        renamed.setdefault("first", torch.zeros(1, 1, dim))
        outputs = renamed["pixels.weight"].shape[0] if "pixels.weight" in renamed else 3
        self.grid, self.patch = grid, math.isqrt(outputs // 3)
        with torch.device("meta"):
            self.embed = nn.Linear(channels, dim)
            self.first = nn.Parameter(torch.empty(1, 1, dim))
            self.place = nn.Parameter(torch.empty(1, 1 + grid**2, dim))
            self.blocks = nn.ModuleList(
                Block(dim=dim, num_heads=num_heads, hidden_dim=hidden_dim, norm_eps=norm_eps)
                for _ in range(num_layers)
            )
            self.norm = nn.LayerNorm(dim, eps=norm_eps)
            self.pixels = nn.Linear(dim, 3 * self.patch**2)
        try:
            self.load_state_dict(renamed, assign=True)
        except RuntimeError as error:
            reasons = [line.strip() for line in str(error).splitlines()[1:3]]
            raise ValueError(f"the decoder's weights do not fit: {' '.join(reasons)}") from error
        self.statistics, self.mean, self.std = statistics, mean, std
        facts = {name: config[name] for name in (*_SIZES, "layer_norm_eps")}
        self.sha256 = fingerprint({**self.state_dict(), **_named(statistics)}, facts)

    def forward(self, latents_ITC: Tensor) -> Tensor:
        features_ITC = self.statistics.restore(latents_ITC) if self.statistics else latents_ITC
        tokens = self.embed(features_ITC.to(self.embed.weight.dtype))
        x = torch.cat((self.first.expand(len(tokens), -1, -1), tokens), dim=1) + self.place
        for block in self.blocks:
            x = block(x)
        patches = self.pixels(self.norm(x)[:, 1:]).float()
        patches = patches.unflatten(1, (self.grid, self.grid)).unflatten(3, (self.patch, -1, 3))
        planes = patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return rescaled(planes, self.mean, self.std)


class RaeDecoder(PictureDecoder):
    """diffusers' AutoencoderRAE, which holds the encoder that its decoder was trained on."""

    def __init__(self, rae: Any, *, channels: int, grid: int) -> None:
        super().__init__()
        self.rae, self.grid = rae, grid
        tensors = rae.state_dict()
        # Its std holds the eps of the variance already, and has EPS added where it is used.
        self.statistics = Statistics.of_planes(
            tensors["_latents_mean"],
            (tensors["_latents_std"] + EPS) / rae.config.scaling_factor,
            grid=grid,
            channels=channels,
        )
        names = ("decoder_num_attention_heads", "scaling_factor")
        self.sha256 = fingerprint(
            {name: tensor for name, tensor in tensors.items() if not name.startswith("encoder.")},
            {name: rae.config[name] for name in names},
        )

    def give_encoder(self) -> nn.Module:
        """The encoder, which is not part of the decoder any more."""
        encoder: nn.Module = self.rae.encoder
        self.rae.encoder = nn.Identity()
        return encoder

    def forward(self, latents_ITC: Tensor) -> Tensor:
        planes = latents_ITC.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        pictures: Tensor = self.rae.decode(planes.to(self.rae.dtype), return_dict=False)[0]
        return pictures.float()


def check_decoder(weights: Weights, *, channels: int, picture_size: int, patch_size: int) -> None:
    """Look whether a decoder is there and fits, without reading weights. Raises MissingWeights and
    ValueError."""
    config, where = weights.config(), f"{weights.source}: "
    if is_rae(config):
        library("diffusers")
        wanted = {
            "encoder_hidden_size": channels,
            "encoder_patch_size": patch_size,
            "encoder_input_size": picture_size,
        }
        for name, value in wanted.items():
            if config.get(name) != value:
                raise ValueError(f"{where}{name} is {config.get(name)!r}, not {value}")
        return
    for name in _SIZES:
        if type(config.get(name)) is not int or config[name] < 1:
            raise ValueError(f"{where}{name} is {config.get(name)!r}, not a whole number from 1")
    if config["decoder_hidden_size"] % config["decoder_num_attention_heads"]:
        raise ValueError(
            f"{where}decoder_hidden_size {config['decoder_hidden_size']} is not a multiple of "
            f"decoder_num_attention_heads {config['decoder_num_attention_heads']}"
        )
    if not isinstance(config.get("layer_norm_eps"), float) or config.get("hidden_act") != "gelu":
        raise ValueError(f"{where}a decoder has a layer_norm_eps, and gelu as hidden_act")


def load_decoder(
    weights: Weights,
    *,
    channels: int,
    grid: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> PictureDecoder:
    """A decoder that `check_decoder` has passed, on the CPU in fp32. Raises ValueError."""
    config, folder = weights.config(), weights.folder()
    if is_rae(config):
        from diffusers import AutoencoderRAE

        rae = from_folder(AutoencoderRAE, folder)
        return RaeDecoder(rae, channels=channels, grid=grid)
    statistics = None
    if (path := folder / STATISTICS).is_file():
        values = read_tensors([path])
        if missing := {"mean", "var"} - values.keys():
            raise ValueError(f"{path}: there is no {' and no '.join(sorted(missing))}")
        scale = (values["var"].float() + EPS).sqrt()
        statistics = Statistics.of_planes(values["mean"], scale, grid=grid, channels=channels)
    files = sorted(path for path in folder.glob("*.safetensors") if path.name != STATISTICS)
    return PatchDecoder(
        config,
        read_tensors(files),
        statistics=statistics,
        channels=channels,
        grid=grid,
        mean=mean,
        std=std,
    )


def _named(statistics: Statistics | None) -> dict[str, Tensor]:
    if statistics is None:
        return {}
    return {"statistics.mean": statistics.mean, "statistics.scale": statistics.scale}


def _renamed(name: str) -> str:
    for published, ours in _NAMES.items():
        name = name.replace(published, ours)
    return name
