"""Vision transformers as encoders (paper §3, appendix E.4): SigLIP 2, DINOv2, WebSSL.

Their last hidden states, patch tokens alone, are the latents. Conventions follow the decoders that
turn them into pictures again: RAE (Zheng et al. 2026) for DINOv2, Scale-RAE (Tong et al. 2026) for
the other two.

Shapes: I pictures, T tokens a picture, C latent channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from unimm_eval.model.encoders.base import Encoder
from unimm_eval.model.encoders.decoders import (
    PictureDecoder,
    RaeDecoder,
    Statistics,
    check_decoder,
    is_rae,
    load_decoder,
)
from unimm_eval.model.encoders.pictures import (
    HALF,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Filter,
    central_square,
    resized,
    to_pictures,
    to_planes,
)
from unimm_eval.model.encoders.weights import Weights, fingerprint, from_folder, frozen


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What is loaded of an encoder."""

    transformer: nn.Module
    skipped: int
    """Tokens before the patches: a class token and registers."""
    statistics: Statistics | None
    decoder: PictureDecoder | None
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class VisionTransformer(Encoder):
    """A frozen vision transformer of the transformers library, and a decoder of its features.

    `weights` may also be an AutoencoderRAE, which is then the decoder, too. Without a decoder the
    encoder only understands.
    """

    classes: ClassVar[Mapping[str, str]]
    """Class in transformers for each `model_type` of config.json that is accepted."""
    class_token: ClassVar[bool] = True
    final_norm: ClassVar[str] = "layernorm"
    """Module that is the last layer norm."""
    affine: ClassVar[bool] = False
    """Whether the last layer norm keeps its weight and bias."""
    mean: ClassVar[tuple[float, ...]] = IMAGENET_MEAN
    std: ClassVar[tuple[float, ...]] = IMAGENET_STD
    filter: ClassVar[Filter] = "bicubic"
    fixed_size: ClassVar[bool] = False
    """Whether its positions are those of one picture size alone."""
    stretched: ClassVar[bool] = False
    """Whether a picture is stretched to the square, instead of losing its ends."""

    weights: Weights
    decoder: Weights | None
    channels: int = 1024
    picture_size: int = 224
    patch_size: int = 14
    networks: Networks | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("channels", "picture_size", "patch_size"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, not {value!r}")
        if self.picture_size % self.patch_size:
            raise ValueError(
                f"picture_size {self.picture_size} is not a multiple of "
                f"patch_size {self.patch_size}"
            )

    @property
    def grid(self) -> int:
        return self.picture_size // self.patch_size

    @property
    def decodes(self) -> bool:
        return self.decoder is not None

    @property
    def pinned(self) -> bool:
        return bool(self.weights.sha256) and (self.decoder is None or bool(self.decoder.sha256))

    def check(self) -> None:
        config, where = self.weights.config(), f"{self.weights.source}: "
        if is_rae(config):
            if self.decoder is None or not self.weights.same_place(self.decoder):
                raise ValueError(f"{where}an AutoencoderRAE must be given as the decoder, too")
            found = config.get("encoder_type")
            if found != self.kind:
                raise ValueError(f"{where}its encoder is {found}, not {self.kind}")
        elif config.get("model_type") in self.classes:
            tower = config.get("vision_config")
            self._check_sizes(tower if isinstance(tower, dict) else config)
        else:
            raise ValueError(
                f"{where}{self.kind} is of type {' or '.join(self.classes)}, not "
                f"{config.get('model_type')!r}"
            )
        if self.decoder is not None:
            check_decoder(
                self.decoder,
                channels=self.channels,
                picture_size=self.picture_size,
                patch_size=self.patch_size,
            )

    def _check_sizes(self, config: Mapping[str, Any]) -> None:
        """Raises ValueError. A config.json need not say what is the default of its class."""
        wanted = {"hidden_size": self.channels, "patch_size": self.patch_size}
        if self.fixed_size:
            wanted["image_size"] = self.picture_size
        for name, value in wanted.items():
            if config.get(name, value) != value:
                raise ValueError(f"{self.weights.source}: {name} is {config[name]!r}, not {value}")

    def load(self, *, device: torch.device, dtype: torch.dtype) -> Self:
        self.check()
        transformer, decoder, pinned_decoder, statistics = None, None, None, None
        if self.decoder is not None:
            decoder = load_decoder(
                self.decoder, channels=self.channels, grid=self.grid, mean=self.mean, std=self.std
            )
            pinned_decoder = self.decoder.pinned(decoder.sha256)
            if decoder.statistics is not None:
                decoder.statistics = statistics = decoder.statistics.to(device)
            if isinstance(decoder, RaeDecoder):
                own = decoder.give_encoder()
                transformer = own if self.weights.same_place(self.decoder) else None
        if transformer is None:
            transformer = self._transformer()
        config: Any = transformer.config
        self._check_sizes(config.to_dict())
        facts = ("num_attention_heads", "hidden_act", "layer_norm_eps")
        weights = self.weights.pinned(
            fingerprint(transformer.state_dict(), {name: getattr(config, name) for name in facts})
        )
        registers = getattr(config, "num_register_tokens", 0)
        networks = Networks(
            transformer=frozen(transformer, device=device, dtype=dtype),
            skipped=1 + registers if self.class_token else 0,
            statistics=statistics,
            decoder=decoder and frozen(decoder, device=device, dtype=dtype),
            device=device,
            dtype=dtype,
        )
        return replace(self, weights=weights, decoder=pinned_decoder, networks=networks)

    def _transformer(self) -> nn.Module:
        """The transformer of the transformers library, on the CPU in fp32."""
        import transformers

        kind = getattr(transformers, self.classes[self.weights.config()["model_type"]])
        network: nn.Module = from_folder(kind, self.weights.folder())
        if not self.affine:
            norm: Any = next(
                module
                for name, module in network.named_modules()
                if name.rpartition(".")[2] == self.final_norm
            )
            norm.weight = norm.bias = None
        return network

    def fit(self, picture: Tensor) -> Tensor:
        square = picture if self.stretched else central_square(picture)
        return resized(square, self.picture_size, self.filter)

    def encode(self, pictures: Tensor) -> Tensor:
        return self._run(pictures, every_layer=False)[-1]

    def layers(self, pictures: Tensor) -> list[Tensor]:
        """After each block; after the last one behind the last norm, too."""
        return self._run(pictures, every_layer=True)

    @torch.no_grad()
    def _run(self, pictures: Tensor, *, every_layer: bool) -> list[Tensor]:
        networks = self._loaded()
        planes = to_planes(pictures.to(networks.device), self.mean, self.std).to(networks.dtype)
        output = networks.transformer(planes, output_hidden_states=every_layer)
        # The first hidden states are the embeddings, the last those before the last norm.
        hidden = output.hidden_states[1:-1] if every_layer else ()
        *found, features = (
            states[:, networks.skipped :].float() for states in (*hidden, output.last_hidden_state)
        )
        if networks.statistics is not None:
            features = networks.statistics.normalise(features)
        return [states.to(pictures.device) for states in (*found, features)]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        networks = self._loaded()
        if networks.decoder is None:
            raise ValueError(f"this {self.kind} has no decoder")
        return to_pictures(networks.decoder(latents.to(networks.device))).to(latents.device)

    def _loaded(self) -> Networks:
        if self.networks is None:
            raise RuntimeError("an encoder is loaded before it is used")
        return self.networks

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "channels": self.channels,
            "picture_size": self.picture_size,
            "patch_size": self.patch_size,
            "weights": self.weights.to_json(),
            "decoder": self.decoder and self.decoder.to_json(),
        }


_SIGLIP2 = Weights(source="google/siglip2-so400m-patch14-224")
_SIGLIP2_DECODER = Weights(source="nyu-visionx/siglip2_decoder")
_RAE = Weights(source="nyu-visionx/RAE-dinov2-wReg-large-ViTXL-n08")
_WEBSSL = Weights(source="facebook/webssl-dino300m-full2b-224")
_WEBSSL_DECODER = Weights(source="nyu-visionx/webssl300m_decoder")


@dataclass(frozen=True, kw_only=True)
class SigLip2(VisionTransformer):
    """SigLIP 2 So400m, the paper's default; its last layer norm is without weight and bias."""

    kind: ClassVar[str] = "siglip2"
    classes = {"siglip": "SiglipVisionModel", "siglip_vision_model": "SiglipVisionModel"}  # noqa: RUF012
    class_token = False
    final_norm = "post_layernorm"
    mean = HALF
    std = HALF
    filter = "bilinear"
    fixed_size = True
    stretched = True

    weights: Weights = _SIGLIP2
    decoder: Weights | None = _SIGLIP2_DECODER
    channels: int = 1152


@dataclass(frozen=True, kw_only=True)
class DinoV2(VisionTransformer):
    """DINOv2-L as RAE has it: the last layer norm is without weight and bias, and every element of
    a picture's latents has a mean and a scale of its own."""

    kind: ClassVar[str] = "dinov2"
    classes = {"dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel"}  # noqa: RUF012

    weights: Weights = _RAE
    decoder: Weights | None = _RAE


@dataclass(frozen=True, kw_only=True)
class WebSsl(VisionTransformer):
    """WebSSL-DINO 300M. Scale-RAE takes its features as they are, and so does their decoder."""

    kind: ClassVar[str] = "webssl"
    classes = {"dinov2": "Dinov2Model"}  # noqa: RUF012
    affine = True

    weights: Weights = _WEBSSL
    decoder: Weights | None = _WEBSSL_DECODER
