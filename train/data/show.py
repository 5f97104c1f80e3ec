"""How pictures of a row are shown: encoded, and clean or noised.

Shapes: T tokens a picture, C latent channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from unimm_eval.model import flow
from unimm_eval.model.encoders import Encoder
from unimm_eval.model.sequence import PictureSegment
from unimm_eval.train.recipe import Recipe, Stage


class Latents(Protocol):
    """Latents of one picture, fp32 [T, C]: with `understood` those that the reader of the encoder
    makes of it."""

    def __call__(self, *, understood: bool) -> np.ndarray: ...


def encoded(encoder: Encoder, pixels: np.ndarray) -> np.ndarray:
    """Latents of a picture of any size, fp32 [T, C]."""
    return encoder.encode(encoder.fit(torch.from_numpy(pixels))[None])[0].numpy()


class Pictures:
    """Pictures as a recipe has them in documents."""

    def __init__(self, recipe: Recipe, encoder: Encoder) -> None:
        self.recipe, self.encoder = recipe, encoder
        config = recipe.model_config_()
        self._alpha = flow.shift_factor(config.latent_tokens, config.latent_channels)

    def latents(self, pixels: np.ndarray) -> Latents:
        """Latents of pixels uint8 [height, width, 3], encoded when they are asked for."""

        def encode(*, understood: bool) -> np.ndarray:
            return encoded(self.encoder.reader if understood else self.encoder, pixels)

        return encode

    def blank(self, pixels: np.ndarray) -> Latents:
        """As many latents as a picture has, all 0."""

        def make(*, understood: bool) -> np.ndarray:
            encoder = self.encoder.reader if understood else self.encoder
            return np.zeros((encoder.tokens, encoder.channels), dtype=np.float32)

        return make

    def clean(self, latents: Latents) -> PictureSegment:
        """The picture as it is shown to be understood."""
        return PictureSegment(
            latents=latents(understood=True),
            understanding=self.encoder.understanding_channels > 0,
        )

    def noised(self, latents: Latents, rng: np.random.Generator, stage: Stage) -> PictureSegment:
        """The picture at a time of its own, counted in the flow loss."""
        clean = latents(understood=False)
        u = torch.tensor(rng.random())
        if (law := stage.logit_normal or self.recipe.logit_normal) is not None:
            u = flow.logit_normal(u, mean=law.mean, std=law.std)
        t = float(flow.shift_time(u, self._alpha))
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        return PictureSegment(latents=clean, t=t, noise=noise, flow=True)

    def context(self, latents: Latents, rng: np.random.Generator, stage: Stage) -> PictureSegment:
        """A picture that a caption follows, as `context_noise` says. Its noise is drawn from a
        stream of its own: what else is drawn does not depend on it."""
        own = rng.spawn(1)[0]
        share = 0.0 if self.recipe.context_noise == "paper" else self.recipe.clean_share
        if own.random() < share:
            return self.clean(latents)
        return self.noised(latents, own, stage)


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
