"""Frames from frames and actions (paper §5, appendix F).

A rollout continues the document that `sequence.frames_document` lays out: the action as text,
`<boi>`, the frame, which is denoised and written to the cache clean, `<eoi>`, and so on.

Shapes: N action sequences, F kept frames, T tokens a picture, C latent channels.
"""

from collections.abc import Sequence
from typing import Literal

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
from unimm_eval.model.sequence import PictureSegment, frames_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

_CONTEXT, _FREE = 0, 1  # rows of the session that all rollouts begin from


class FrameContext:
    """Context frames, encoded once, from which any number of action sequences go on."""

    @torch.inference_mode()
    def __init__(
        self, model: UnifiedModel, tokenizer: Tokenizer, frames: Sequence[PictureSegment]
    ) -> None:
        """Raises ValueError when the frames do not fit the model's max_length."""
        self._tokenizer = tokenizer
        documents = [frames_document(tokenizer, frames), unconditional(tokenizer)]
        self._session = Session(model, documents, new_tokens=0, pad=tokenizer.pad)

    def length(self, actions: Sequence[str]) -> int:
        """Tokens that the context and a rollout of one action sequence take; nothing follows the
        last frame."""
        context = int(self._session.cache.lengths_B[_CONTEXT])
        frame = self._session.model.config.latent_tokens + 2
        texts = sum(len(self._tokenizer.encode(action)) + frame for action in actions)
        return context + texts - (1 if actions else 0)

    @torch.inference_mode()
    def rollout(
        self,
        actions: Sequence[Sequence[str]],
        *,
        seeds: Sequence[int],
        keep: Literal["last", "all"] = "last",
        guidance_scale: float = GUIDANCE_SCALE,
        num_inference_steps: int = NUM_INFERENCE_STEPS,
        solver: Solver = "euler",
    ) -> Tensor:
        """Latents fp32 [N, F, T, C] on the CPU: the last frame of each sequence, or every one.

        One frame an action, all sequences of one length; noise comes from each sequence's seed.
        Guidance steers away from having neither frames nor action. Raises ValueError for sequences
        of several lengths, for none, and for what does not fit the model's max_length.
        """
        steps = {len(texts) for texts in actions}
        if len(steps) != 1 or 0 in steps:
            raise ValueError("actions must be sequences of one length, at least 1")
        tokenizer, config = self._tokenizer, self._session.model.config
        picked = guidance_rows([_CONTEXT] * len(actions), _FREE, guidance_scale)
        grows = [i for i, row in enumerate(picked) if row == _CONTEXT]
        room = max(self.length(texts) for texts in actions) - self.length([])
        session = self._session.select(picked, new_tokens=room)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        frames: list[Tensor] = []
        z_NTC: Tensor | None = None
        for texts in zip(*actions, strict=True):
            if z_NTC is not None:
                session.commit(z_NTC[: len(grows)], grows)
            end = [] if z_NTC is None else [tokenizer.eoi]
            ids = [[*end, *tokenizer.encode(text), tokenizer.boi] for text in texts]
            session.append([*ids[: len(grows)], *[[]] * (len(picked) - len(grows))])
            z_NTC = denoise_pictures(
                session,
                drawn_noise(
                    generators, tokens=config.latent_tokens, channels=config.latent_channels
                ),
                guidance_scale=guidance_scale,
                num_inference_steps=num_inference_steps,
                solver=solver,
            )
            frames = [*frames, z_NTC.cpu()] if keep == "all" else [z_NTC.cpu()]
        return torch.stack(frames, dim=1)
