"""Frames that checkpoints of ours predict: rollouts of many action sequences from one context."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from unimm_eval.api import Solver, UserError
from unimm_eval.model.generate import FrameContext
from unimm_eval.model.sequence import PictureSegment, document_length, frames_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

CACHE_BYTES = 2**31
"""Keys and values that rollouts hold at once; more sequences than that take turns."""


class CheckpointFrames:
    """Context frames of a checkpoint, encoded once."""

    def __init__(
        self,
        model: UnifiedModel,
        tokenizer: Tokenizer,
        frames: Sequence[PictureSegment],
        *,
        decode: Callable[[Tensor], np.ndarray],
        name: str,
    ) -> None:
        """Raises UserError when the frames do not fit."""
        self._config, self._name, self._decode = model.config, name, decode
        self._item_bytes = model.embedding.weight.itemsize
        self._frames = len(frames)
        self._check_fits(document_length(frames_document(tokenizer, frames)), actions=0)
        self._context = FrameContext(model, tokenizer, frames)

    def rollout(
        self,
        actions: Sequence[Sequence[str]],
        *,
        seeds: Sequence[int],
        keep: Literal["last", "all"] = "last",
        guidance_scale: float = 3.0,
        num_inference_steps: int = 25,
        solver: Solver = "euler",
    ) -> np.ndarray:
        """uint8 [sequence, kept frame, height, width, 3].

        Each frame is denoised behind its action and stays, clean, for those after it. Raises
        UserError for a sequence that does not fit, ValueError for sequences of several lengths.
        """
        longest = max(map(self._context.length, actions), default=0)
        self._check_fits(longest, actions=max(map(len, actions), default=0))
        parts = []
        at_once = self._sequences_at_once(longest)
        for start in range(0, max(1, len(actions)), at_once):
            latents = self._context.rollout(
                actions[start : start + at_once],
                seeds=seeds[start : start + at_once],
                keep=keep,
                guidance_scale=guidance_scale,
                num_inference_steps=num_inference_steps,
                solver=solver,
            )
            pictures = self._decode(latents.flatten(0, 1))
            parts.append(pictures.reshape(*latents.shape[:2], *pictures.shape[1:]))
        return np.concatenate(parts)

    def _sequences_at_once(self, tokens: int) -> int:
        """Each has a row that is guided and one that is not."""
        config = self._config
        entries = config.num_layers * config.num_kv_heads * config.head_dim * tokens
        return max(1, CACHE_BYTES // (2 * 2 * self._item_bytes * max(1, entries)))

    def _check_fits(self, length: int, *, actions: int) -> None:
        limit = self._config.max_length
        if length > limit:
            raise UserError(
                f"{self._frames} context frames and {actions} actions take {length:,} tokens, but "
                f"{self._name} has room for {limit:,}.",
                fix="Give fewer frames or shorter sequences of actions.",
            )
