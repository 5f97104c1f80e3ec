"""Held-out losses of a checkpoint: the same documents of the world's validation split for all runs.

Text: documents of the world's language. Pictures: scenes that a prompt asks for, the prompt before
them, each noised once at a time of its own; the times are spread evenly over [0, 1] and then
shifted as in training. Documents, times and noise are those of fixed streams; the recipe decides
the tokenizer and the encoder alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimm_eval.model import flow
from unimm_eval.model.checkpoint import Checkpoint, load_checkpoint
from unimm_eval.model.sequence import (
    Document,
    PictureSegment,
    caption_document,
    document_length,
    pack,
    text_document,
)
from unimm_eval.model.unified import Losses
from unimm_eval.train.recipe import Recipe
from unimm_eval.world import render, rng_for, sample_document, sample_pair

DOCUMENTS = 512
LANGUAGE, VISION = "language", "vision"
_TRAINED_BY = {
    LANGUAGE: {"text"},
    VISION: {"text_to_image", "inventory_to_image", "noisy_inventory", "rooms"},
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
    found: dict[str, HeldOut] = {}
    for modality in modalities:
        made = _texts if modality == LANGUAGE else _pictures
        losses = [_losses(checkpoint, document) for document in made(checkpoint, documents)]
        found[modality] = _mean(
            [
                (float(one.text_sum), float(one.text_count))
                if modality == LANGUAGE
                else (float(one.flow_sum), float(one.flow_count))
                for one in losses
            ]
        )
    return found


def _texts(checkpoint: Checkpoint, count: int) -> list[Document]:
    return [_text(checkpoint, index) for index in range(count)]


def _text(checkpoint: Checkpoint, index: int) -> Document:
    rng = rng_for(split="val", purpose=f"{_PURPOSE}, text", index=index)
    return text_document(checkpoint.tokenizer, sample_document(rng, split="val").text)


def _pictures(checkpoint: Checkpoint, count: int) -> list[Document]:
    config = checkpoint.model.config
    encoder = checkpoint.files.encoder.load(device=torch.device("cpu"), dtype=torch.float32)
    alpha = flow.shift_factor(config.latent_tokens, config.latent_channels)
    documents: list[Document] = []
    for index in range(count):
        rng = rng_for(split="val", purpose=f"{_PURPOSE}, picture", index=index)
        prompt, scene = sample_pair(rng, split="val")[:2]
        pixels = encoder.fit(torch.from_numpy(render(scene)))
        latents = encoder.encode(pixels[None])[0].numpy()
        time = torch.tensor((index % _TIMES + rng.random()) / _TIMES)
        picture = PictureSegment(
            latents=latents,
            t=float(flow.shift_time(time, alpha)),
            noise=rng.standard_normal(latents.shape, dtype=np.float32),
            flow=True,
        )
        documents.append(caption_document(checkpoint.tokenizer, prompt, picture))
    return documents


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
