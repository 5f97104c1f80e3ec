"""How pictures of a row are shown: encoded, and clean or noised.

Shapes: T tokens a picture, C latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from unimm_eval.model import flow
from unimm_eval.model.encoders import Encoder
from unimm_eval.model.sequence import PictureSegment
from unimm_eval.train.data.late import Unencoded
from unimm_eval.train.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A picture that is encoded later: uint8 [S, S, 3], as its encoder takes it."""

    pixels: np.ndarray


class Latents(Protocol):
    """Latents of one picture, fp32 [T, C], or what they will be made of: with `understood` those
    that the reader of the encoder makes of it."""

    def __call__(self, *, understood: bool) -> np.ndarray | Unfinished: ...


class Pictures:
    """Pictures as a recipe has them in documents; encoded `late`, only their pixels."""

    def __init__(self, recipe: Recipe, encoder: Encoder, *, late: bool = False) -> None:
        self.recipe, self.encoder, self._late = recipe, encoder, late
        config = recipe.model_config_()
        self._alpha = flow.shift_factor(config.latent_tokens, config.latent_channels)

    def latents(self, pixels: np.ndarray) -> Latents:
        """Latents of pixels uint8 [height, width, 3], encoded when they are asked for."""

        def encode(*, understood: bool) -> np.ndarray | Unfinished:
            encoder = self.encoder.reader if understood else self.encoder
            fitted = encoder.fit(torch.from_numpy(pixels))
            if self._late:
                return Unfinished(pixels=fitted.numpy())
            return encoder.encode(fitted[None])[0].numpy()

        return encode

    def blank(self, pixels: np.ndarray) -> Latents:
        """As many latents as a picture has, all 0."""

        def make(*, understood: bool) -> np.ndarray:
            encoder = self.encoder.reader if understood else self.encoder
            return np.zeros((encoder.tokens, encoder.channels), dtype=np.float32)

        return make

    def clean(self, latents: Latents) -> PictureSegment:
        """The picture as it is shown to be understood."""
        dual = self.encoder.understanding_channels > 0
        return self._segment(latents(understood=True), self.encoder.reader, understanding=dual)

    def noised(self, latents: Latents, rng: np.random.Generator, stage: Stage) -> PictureSegment:
        """The picture at a time of its own, counted in the flow loss."""
        u = torch.tensor(rng.random())
        if (law := stage.logit_normal or self.recipe.logit_normal) is not None:
            u = flow.logit_normal(u, mean=law.mean, std=law.std)
        t = float(flow.shift_time(u, self._alpha))
        shape = (self.encoder.tokens, self.encoder.channels)
        noise = rng.standard_normal(shape, dtype=np.float32)
        return self._segment(latents(understood=False), self.encoder, t=t, noise=noise, flow=True)

    def context(self, latents: Latents, rng: np.random.Generator, stage: Stage) -> PictureSegment:
        """A picture that a caption follows, as `context_noise` says. Its noise is drawn from a
        stream of its own: what else is drawn does not depend on it."""
        own = rng.spawn(1)[0]
        share = 0.0 if self.recipe.context_noise == "paper" else self.recipe.clean_share
        if own.random() < share:
            return self.clean(latents)
        return self.noised(latents, own, stage)

    def _segment(
        self, latents: np.ndarray | Unfinished, encoder: Encoder, **fields: Any
    ) -> PictureSegment:
        if not isinstance(latents, Unfinished):
            return PictureSegment(latents=latents, **fields)
        zeros = np.broadcast_to(np.float32(0), (encoder.tokens, encoder.channels))
        return Unencoded(latents=zeros, pixels=latents.pixels, **fields)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The pictures of one document, and what it is drawn with."""

    pictures: Pictures
    latents: Sequence[Latents]
    rng: np.random.Generator
    stage: Stage

    def left_out(self) -> bool:
        """Whether the condition of this document is left out, for guidance; drawn each time."""
        return bool(self.rng.random() < self.pictures.recipe.condition_dropout)

    def clean(self, number: int) -> PictureSegment:
        return self.pictures.clean(self.latents[number])

    def noised(self, number: int) -> PictureSegment:
        return self.pictures.noised(self.latents[number], self.rng, self.stage)

    def context(self, number: int) -> PictureSegment:
        return self.pictures.context(self.latents[number], self.rng, self.stage)
