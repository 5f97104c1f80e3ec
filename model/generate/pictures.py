"""A picture behind a prompt or any document, with classifier-free guidance.

The guided and the unguided half of a batch go through the model in one forward pass a step; at a
scale of 1 or 0 only the half that counts does.

Shapes: T tokens a picture, C latent channels.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from unimm_eval.model.generate.session import Session
from unimm_eval.model.generate.solver import (
    GUIDANCE_SCALE,
    NUM_INFERENCE_STEPS,
    Solver,
    solve,
)
from unimm_eval.model.sequence import Document, TextSegment
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

_Row = TypeVar("_Row")


def seeded_noise(seeds: Sequence[int], *, tokens: int, channels: int) -> Tensor:
    """Standard normal [R, T, C]; each row from its own seed, on the CPU, so that neither batch nor
    device changes it."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return drawn_noise(generators, tokens=tokens, channels=channels)


def drawn_noise(generators: Sequence[torch.Generator], *, tokens: int, channels: int) -> Tensor:
    """Standard normal [R, T, C], each row from a generator (on the CPU) of its own."""
    return torch.stack([torch.randn(tokens, channels, generator=one) for one in generators])


def unconditional(tokenizer: Tokenizer) -> Document:
    """What training showed when it dropped the condition."""
    return [TextSegment(ids=[tokenizer.bos, tokenizer.boi], loss=False)]


def guidance_rows(
    conditional: Sequence[_Row], unconditional: _Row, guidance_scale: float
) -> list[_Row]:
    """The rows of a session that `denoise_pictures` needs: both halves, conditional first, or the
    one half that counts at a scale of 1 or 0."""
    if guidance_scale == 1:
        return list(conditional)
    free = [unconditional] * len(conditional)
    return free if guidance_scale == 0 else [*conditional, *free]


def denoise_pictures(
    session: Session,
    noise: Tensor,
    *,
    guidance_scale: float,
    num_inference_steps: int,
    solver: Solver,
) -> Tensor:
    """Latents fp32 [rows, T, C] behind a session whose rows `guidance_rows` laid out."""
    return solve(
        guided(session, guidance_scale),
        noise.to(session.last_RD.device),
        num_steps=num_inference_steps,
        alpha=session.model.alpha,
        solver=solver,
    )


def guided(session: Session, guidance_scale: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Classifier-free guidance v_u + s·(v_c − v_u): the velocity of the conditional rows."""
    if guidance_scale in (0, 1):
        return session.denoise

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = session.denoise(torch.cat((z, z)), t).chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    return velocity


def generate_pictures(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    guidance_scale: float = GUIDANCE_SCALE,
    num_inference_steps: int = NUM_INFERENCE_STEPS,
    solver: Solver = "euler",
) -> Tensor:
    """Latents fp32 [prompts, T, C] of one picture a prompt."""
    documents: list[Document] = [
        [TextSegment(ids=[tokenizer.bos, *tokenizer.encode(prompt)])] for prompt in prompts
    ]
    return continue_with_pictures(
        model,
        tokenizer,
        documents,
        seeds=seeds,
        guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps,
        solver=solver,
    )


@torch.inference_mode()
def continue_with_pictures(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    *,
    seeds: Sequence[int],
    guidance_scale: float = GUIDANCE_SCALE,
    num_inference_steps: int = NUM_INFERENCE_STEPS,
    solver: Solver = "euler",
) -> Tensor:
    """Latents fp32 [documents, T, C] of one picture behind each document of text and pictures,
    which `<boi>` follows. Guidance steers away from having no document at all."""
    rows: list[Document] = [[*document, TextSegment(ids=[tokenizer.boi])] for document in documents]
    tokens, channels = model.config.latent_tokens, model.config.latent_channels
    session = Session(
        model,
        guidance_rows(rows, unconditional(tokenizer), guidance_scale),
        new_tokens=tokens,
        pad=tokenizer.pad,
    )
    return denoise_pictures(
        session,
        seeded_noise(seeds, tokens=tokens, channels=channels),
        guidance_scale=guidance_scale,
        num_inference_steps=num_inference_steps,
        solver=solver,
    )
