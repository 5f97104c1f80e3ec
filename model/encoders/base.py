"""What an encoder is: pictures to latents and, where there is a decoder, back.

Shapes: I pictures, T tokens a picture, C latent channels.
"""

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor


class Encoder(ABC):
    """A frozen map of square uint8 pictures to fp32 latents of about zero mean and unit scale.

    An encoder is a description that `load` turns into one that can encode. What a checkpoint's
    encoder needs and gives is so known, and can be refused, before anything is allocated. Networks
    are frozen and stand outside the unified model: none of their weights is in its state dict.
    """

    @property
    @abstractmethod
    def kind(self) -> str:
        """Name in encoder.json and in recipes."""

    @property
    @abstractmethod
    def picture_size(self) -> int:
        """Pixels a side of the pictures that are encoded."""

    @property
    @abstractmethod
    def grid(self) -> int:
        """Tokens a side."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of a token."""

    @property
    def tokens(self) -> int:
        """Tokens of a picture."""
        return self.grid**2

    @property
    def decodes(self) -> bool:
        """Whether latents can be turned into pictures."""
        return True

    @property
    def reader(self) -> "Encoder":
        """The encoder of pictures to be understood: itself, but for a dual encoder."""
        return self

    @property
    def understanding_channels(self) -> int:
        """Channels of the reader's tokens where they are a latent space of their own, else 0."""
        return 0

    @property
    def pinned(self) -> bool:
        """Whether the fingerprints of all frozen weights are given."""
        return True

    def check(self) -> None:
        """Look whether everything that `load` needs is there, without reading weights.

        Raises MissingWeights for what must be downloaded, ValueError for what does not fit.
        """

    def load(self, *, device: torch.device, dtype: torch.dtype) -> Self:
        """The encoder with its networks on `device`, in `dtype`. Raises what `check` raises, and
        ValueError for weights that are not the ones of its fingerprint."""
        return self

    @abstractmethod
    def fit(self, picture: Tensor) -> Tensor:
        """uint8 [height, width, 3] of any size → uint8 [size, size, 3]."""

    @abstractmethod
    def encode(self, pictures: Tensor) -> Tensor:
        """uint8 [I, size, size, 3] → fp32 [I, T, C], on the same device."""

    def layers(self, pictures: Tensor) -> list[Tensor]:
        """Tokens after each layer, fp32 [I, T, width] each; the last are what `encode` gives, and
        all there is where no layer before it has tokens of the same grid."""
        return [self.encode(pictures)]

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """fp32 [I, T, C] → uint8 [I, side, side, 3], on the same device. A decoder's side may
        differ from `picture_size`. Raises ValueError where there is no decoder."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The contents of encoder.json."""
