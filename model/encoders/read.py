"""An encoder from the contents of encoder.json or of a recipe's `encoder`."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.encoders.base import Encoder
from unimm_eval.model.encoders.dual import Dual
from unimm_eval.model.encoders.raw_pixels import RawPixels
from unimm_eval.model.encoders.vae import FluxVae, SdVae
from unimm_eval.model.encoders.vision import DinoV2, SigLip2, WebSsl
from unimm_eval.model.encoders.weights import Weights

KINDS: dict[str, type[Any]] = {
    kind.kind: kind for kind in (RawPixels, SigLip2, DinoV2, WebSsl, SdVae, FluxVae, Dual)
}

_LOADED = ("network", "networks")


def encoder_from_json(values: dict[str, Any]) -> Encoder:
    """A description, not yet loaded. Raises ValueError for an unknown encoder or field."""
    values = dict(values)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"unknown encoder {kind!r}; known: {', '.join(KINDS)}")
    known = {field.name for field in fields(KINDS[kind])} - set(_LOADED)
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{kind} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    for name in ("weights", "decoder"):
        if name in values and (name == "weights" or values[name] is not None):
            values[name] = Weights.from_json(values[name])
    for name in ("understanding", "generating"):
        if name in values:
            if not isinstance(values[name], dict) or values[name].get("kind") == kind:
                raise ValueError(f"{name} must be the table of fields of a single encoder")
            values[name] = encoder_from_json(values[name])
    try:
        encoder: Encoder = KINDS[kind](**values)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return encoder


def encoder_identity(values: dict[str, Any]) -> dict[str, Any]:
    """The contents of encoder.json with fingerprints in place of where weights lie."""
    return {
        name: (value.get("sha256") or encoder_identity(value)) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def check_widths(encoder: Encoder, config: ModelConfig) -> None:
    """Raises ValueError when the model does not take what the encoder gives."""
    if (config.latent_channels, config.latent_grid) != (encoder.channels, encoder.grid):
        raise ValueError(
            f"the encoder gives {encoder.grid}² tokens of {encoder.channels} channels, "
            f"the model takes {config.latent_grid}² of {config.latent_channels}"
        )
    if config.understanding_channels != encoder.understanding_channels:
        raise ValueError(
            f"the encoder gives {encoder.understanding_channels} channels to understand, "
            f"the model takes {config.understanding_channels} (understanding_channels)"
        )


def reread(encoder: Encoder) -> Callable[[Tensor], Tensor] | None:
    """How a finished picture [I, T, C] is shown to its model: as the reader's latents of it, or,
    where that is None, as it is."""
    if encoder.reader is encoder or not encoder.decodes:
        return None

    def read(latents: Tensor) -> Tensor:
        pictures = encoder.decode(latents.float().cpu())
        fitted = torch.stack([encoder.reader.fit(picture) for picture in pictures])
        return encoder.reader.encode(fitted).to(latents.device)

    return read
