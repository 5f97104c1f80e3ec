"""Held-out losses of a checkpoint: the same documents of the world's validation split for all runs.

Text: documents of the world's language. Pictures: scenes that a prompt asks for, the prompt before
them, each noised once at a time of its own; the times are spread evenly over [0, 1] and then
shifted as in training. Navigation: the frame that one action leads to, behind four clean ones.
Documents, times and noise are those of fixed streams; the recipe decides the tokenizer and the
encoder alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from unimm_eval.model import flow
from unimm_eval.model.checkpoint import Checkpoint, load_checkpoint
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    caption_document,
    document_length,
    navigation_document,
    pack,
    text_document,
)
from unimm_eval.model.unified import Losses
from unimm_eval.train.recipe import Recipe
from unimm_eval.world import render, rng_for, sample_document, sample_pair
from unimm_eval.world.rooms_drive import sample_drive

DOCUMENTS = 512
LANGUAGE, VISION, NAVIGATION = "language", "vision", "navigation"
_TRAINED_BY = {
    LANGUAGE: {"text"},
    VISION: {"text_to_image", "inventory_to_image", "noisy_inventory"},
    NAVIGATION: {"rooms", "short_rooms"},
}
_PURPOSE = "held-out loss"
_TIMES = 16


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A mean loss, nats a token or flow loss a picture, and its standard error over documents."""

    loss: float
    stderr: float
    documents: int


def measured(recipe: Recipe) -> list[str]:
    """The modalities that have a held-out loss: those that the recipe trains on the world."""
    used = {name for stage in recipe.stages for name, share in stage.mixture.items() if share}
    return [modality for modality, sources in _TRAINED_BY.items() if used & sources]


def held_out_losses(
    folder: Path, modalities: Sequence[str], *, documents: int = DOCUMENTS
) -> dict[str, HeldOut]:
    """Losses of the checkpoint in `folder`. Raises CheckpointError."""
    checkpoint = load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)
    made = {LANGUAGE: _texts, VISION: _pictures, NAVIGATION: _drives}
    found: dict[str, HeldOut] = {}
    for modality in modalities:
        losses = [
            _losses(checkpoint, document) for document in made[modality](checkpoint, documents)
        ]
        found[modality] = _mean(
            [
                (float(one.text_sum), float(one.text_count))
                if modality == LANGUAGE
                else (float(one.flow_sum), float(one.flow_count))
                for one in losses
            ]
        )
    return found


def _texts(checkpoint: Checkpoint, count: int) -> Iterator[Document]:
    for index in range(count):
        rng = rng_for(split="val", purpose=f"{_PURPOSE}, text", index=index)
        yield text_document(checkpoint.tokenizer, sample_document(rng, split="val").text)


def _pictures(checkpoint: Checkpoint, count: int) -> Iterator[Document]:
    encode = _encoder(checkpoint)
    for index in range(count):
        rng = rng_for(split="val", purpose=f"{_PURPOSE}, picture", index=index)
        prompt, scene = sample_pair(rng, split="val")[:2]
        picture = _noised(checkpoint, encode(render(scene)), rng, index)
        yield caption_document(checkpoint.tokenizer, prompt, picture)


def _drives(checkpoint: Checkpoint, count: int) -> Iterator[Document]:
    encode = _encoder(checkpoint)
    understood = checkpoint.model.config.understanding_channels > 0
    for index in range(count):
        rng = rng_for(split="val", purpose=f"{_PURPOSE}, drive", index=index)
        drive = sample_drive(rng, most_actions=1)
        context = [
            PictureSegment(latents=encode(frame, reader=True), understanding=understood)
            for frame in drive.context
        ]
        target = _noised(checkpoint, encode(drive.frames[-1]), rng, index)
        steps = [(drive.actions[-1], target)]
        yield navigation_document(checkpoint.tokenizer, context, steps)


class _Encode(Protocol):
    def __call__(self, pixels: np.ndarray, *, reader: bool = False) -> np.ndarray:
        """Latents of a picture, fp32 [tokens, channels]; of `reader`, as it is shown clean."""


def _encoder(checkpoint: Checkpoint) -> _Encode:
    encoder = checkpoint.files.encoder.load(device=torch.device("cpu"), dtype=torch.float32)

    def encode(pixels: np.ndarray, *, reader: bool = False) -> np.ndarray:
        used = encoder.reader if reader else encoder
        return np.asarray(used.encode(used.fit(torch.from_numpy(pixels))[None])[0].numpy())

    return encode


def _noised(
    checkpoint: Checkpoint, latents: np.ndarray, rng: np.random.Generator, index: int
) -> PictureSegment:
    config = checkpoint.model.config
    alpha = flow.shift_factor(config.latent_tokens, config.latent_channels)
    time = torch.tensor((index % _TIMES + rng.random()) / _TIMES)
    return PictureSegment(
        latents=latents,
        t=float(flow.shift_time(time, alpha)),
        noise=rng.standard_normal(latents.shape, dtype=np.float32),
        flow=True,
    )


@torch.inference_mode()
def _losses(checkpoint: Checkpoint, document: Document) -> Losses:
    config = checkpoint.model.config
    batch = pack(
        [[document]],
        length=document_length(document),
        pad=checkpoint.tokenizer.pad,
        grid_tokens=config.latent_tokens,
        channels=config.latent_channels,
        understanding_channels=config.understanding_channels,
    )
    return checkpoint.model.losses(batch, with_balance=False)


def _mean(terms: list[tuple[float, float]]) -> HeldOut:
    """Σ sum / Σ count over documents, with the standard error of that ratio."""
    sums, counts = np.array(terms).T
    mean = sums.sum() / counts.sum()
    residuals = sums - mean * counts
    stderr = float(np.sqrt(np.square(residuals).sum() * len(sums) / (len(sums) - 1)) / counts.sum())
    return HeldOut(loss=float(mean), stderr=stderr, documents=len(sums))
