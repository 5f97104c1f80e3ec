"""Text and pictures in turn: modal switching (paper appendix B)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import torch
from torch import Tensor

from unimm_eval.model.generate.pictures import (
    denoise_pictures,
    drawn_noise,
    guidance_rows,
    unconditional,
)
from unimm_eval.model.generate.session import Session
from unimm_eval.model.generate.solver import GUIDANCE_SCALE, NUM_INFERENCE_STEPS, Solver
from unimm_eval.model.generate.text import Sampling
from unimm_eval.model.sequence import Document, PictureSegment, TextSegment
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel


class _State(Enum):
    WRITING = auto()
    WAITING = auto()  # behind `<boi>`, for its picture
    DONE = auto()


@dataclass(kw_only=True)
class _Row:
    """What a document was continued with so far, and how many tokens it may still get."""

    sampling: Sampling
    generator: torch.Generator
    left: int
    parts: list[TextSegment | PictureSegment] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    state: _State = _State.WRITING

    def write(self, logits_V: Tensor, tokenizer: Tokenizer, *, picture_tokens: int) -> list[int]:
        """Choose the next token; returns it when it is to be appended."""
        token = self.sampling.next(logits_V, self.generator)
        picture = token == tokenizer.boi
        fits = not picture or self.left >= picture_tokens + 2
        if token in (tokenizer.eos, tokenizer.eot) or not fits:
            self.state = _State.DONE
            return []
        self.ids.append(token)
        self._spend(1)
        if picture:
            self.state = _State.WAITING
        return [token]

    def show(self, latents_TC: Tensor, tokenizer: Tokenizer) -> None:
        """Take the finished picture and the `<eoi>` behind it."""
        picture = PictureSegment(latents=latents_TC.cpu().numpy())
        self.parts += [TextSegment(ids=self.ids), picture]
        self.ids = [tokenizer.eoi]
        self.state = _State.WRITING
        self._spend(len(latents_TC) + 1)

    def _spend(self, tokens: int) -> None:
        self.left -= tokens
        if self.left == 0:
            self.state = _State.DONE

    def document(self) -> Document:
        return [*self.parts, TextSegment(ids=self.ids)] if self.ids else self.parts


@torch.inference_mode()
def generate_interleaved(
    model: UnifiedModel,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    *,
    seeds: Sequence[int],
    max_new_tokens: int,
    sampling: Sequence[Sampling],
    guidance_scale: float = GUIDANCE_SCALE,
    num_inference_steps: int = NUM_INFERENCE_STEPS,
    solver: Solver = "euler",
) -> list[Document]:
    """Continue each document with text and pictures until `<eos>`, `<eot>` or `max_new_tokens`,
    picture tokens included.

    On `<boi>` a row's text stops, a picture is denoised and committed, `<eoi>` follows and text
    goes on; a `<boi>` whose picture has no room ends the row. A row waits for its picture until the
    others wait too or are done, so that pictures are denoised together whenever they begin.
    """
    tokens = model.config.latent_tokens
    rows = [
        _Row(sampling=how, generator=torch.Generator().manual_seed(seed), left=max_new_tokens)
        for how, seed in zip(sampling, seeds, strict=True)
    ]
    # The last row never grows: it is what guidance steers away from.
    session = Session(
        model, [*documents, unconditional(tokenizer)], new_tokens=max_new_tokens, pad=tokenizer.pad
    )
    while any(row.state is _State.WRITING for row in rows):
        _write(session, tokenizer, rows, picture_tokens=tokens)
        waiting = [i for i, row in enumerate(rows) if row.state is _State.WAITING]
        if not waiting:
            break
        generators = [rows[i].generator for i in waiting]
        z_WTC = denoise_pictures(
            session.select(guidance_rows(waiting, len(rows), guidance_scale), new_tokens=tokens),
            drawn_noise(generators, tokens=tokens, channels=model.config.latent_channels),
            guidance_scale=guidance_scale,
            num_inference_steps=num_inference_steps,
            solver=solver,
        )
        _commit(session, tokenizer, rows, waiting, z_WTC)
    return [row.document() for row in rows]


def _write(
    session: Session, tokenizer: Tokenizer, rows: Sequence[_Row], *, picture_tokens: int
) -> None:
    """Let every row write until it waits for a picture or is done."""
    while any(row.state is _State.WRITING for row in rows):
        logits_RV = session.logits()
        written = [
            row.write(logits_RV[i], tokenizer, picture_tokens=picture_tokens)
            if row.state is _State.WRITING
            else []
            for i, row in enumerate(rows)
        ]
        session.append([*written, []])


def _commit(
    session: Session,
    tokenizer: Tokenizer,
    rows: Sequence[_Row],
    waiting: Sequence[int],
    z_WTC: Tensor,
) -> None:
    """Append finished pictures and `<eoi>` to the rows that wait for them."""
    session.commit(z_WTC, waiting)
    session.append([[tokenizer.eoi] if i in waiting else [] for i in range(len(rows) + 1)])
    for i, z_TC in zip(waiting, z_WTC, strict=True):
        rows[i].show(z_TC, tokenizer)
