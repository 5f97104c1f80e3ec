"""Pictures that are encoded on the device that trains, instead of by the workers that read them.

Frozen networks are too much for the processors that decode pictures. Workers then hand over pixels,
and the latents of a whole batch are made where the model is, right before it is trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from unimm_eval.model.encoders import Encoder, RawPixels
from unimm_eval.model.sequence import Batch, Document, PictureSegment

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Unencoded(PictureSegment):
    """A picture whose latents are still 0; `pixels` are uint8 [S, S, 3], as its encoder takes
    them."""

    pixels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pictures of a batch: uint8 [N, S, S, 3], and which of the batch's they are."""

    pixels: Tensor
    index: Tensor


@dataclass(frozen=True, kw_only=True)
class LatePictures:
    """What is still to be encoded of a batch: pictures, and those of a dual encoder's reader."""

    pictures: Pixels | None
    understood: Pixels | None


def encoded_late(encoder: Encoder, device: torch.device) -> bool:
    """Whether pictures are better encoded on the device: patches of pixels are no work."""
    return device.type != "cpu" and not isinstance(encoder, RawPixels)


def late_pictures(rows: Sequence[Sequence[Document]]) -> LatePictures:
    """The pictures of packed rows that are not encoded yet, by their places in the batch."""
    shown = [
        part
        for documents in rows
        for document in documents
        for part in document
        if isinstance(part, PictureSegment)
    ]
    return LatePictures(
        pictures=_pixels([part for part in shown if not part.understanding]),
        understood=_pixels([part for part in shown if part.understanding]),
    )


def with_latents(batch: Batch, late: LatePictures, encoder: Encoder) -> Batch:
    """The batch, on the encoder's device, with the latents of all of its pictures."""
    latents, understood = batch.latents_ITC, batch.understood_JTU
    if late.pictures is not None:
        latents = _filled(latents, late.pictures, encoder)
    if late.understood is not None:
        understood = _filled(understood, late.understood, encoder.reader)
    return replace(batch, latents_ITC=latents, understood_JTU=understood)


def _pixels(pictures: Sequence[PictureSegment]) -> Pixels | None:
    found = [(at, one.pixels) for at, one in enumerate(pictures) if isinstance(one, Unencoded)]
    if not found:
        return None
    return Pixels(
        pixels=torch.from_numpy(np.stack([pixels for _, pixels in found])),
        index=torch.tensor([at for at, _ in found]),
    )


def _filled(latents: Tensor, pictures: Pixels, encoder: Encoder) -> Tensor:
    made = latents.clone()
    parts = zip(pictures.pixels.split(_BATCH), pictures.index.split(_BATCH), strict=True)
    for pixels, index in parts:
        found = encoder.encode(pixels.to(latents.device)).to(latents.dtype)
        made[index.to(latents.device)] = found
    return made
