"""What stands in the layers of our checkpoints when they are shown a picture to understand.

A picture is shown clean, as at the beginning of a question: `<bos> <boi> picture <eoi>`. What comes
behind it cannot change it.

Shapes: I pictures, L layers, T tokens a picture, D width, N tokens of all rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unimm_eval.api import Picture, PictureFeatures
from unimm_eval.model.encoders import Encoder
from unimm_eval.model.sequence import PictureSegment, interleaved, prompt_document
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

ENCODER, BACKBONE = "encoder", "backbone"
_MARKS = 3  # <bos>, <boi>, <eoi>


class LayerReader:
    """Features of one model, frozen encoder and backbone in one pass."""

    def __init__(
        self,
        model: UnifiedModel,
        tokenizer: Tokenizer,
        encoder: Encoder,
        *,
        pack: Callable[[Sequence[Any]], Any],
        pass_tokens: int,
    ) -> None:
        """`encoder` is the one that pictures are understood by; `pack` makes a batch of documents;
        at most `pass_tokens` go through the model at once."""
        self._model, self._tokenizer, self._encoder = model, tokenizer, encoder
        self._pack = pack
        self._understood = model.config.understanding_channels > 0
        self._at_once = max(1, pass_tokens // (encoder.tokens + _MARKS))

    def features(
        self, pictures: Sequence[Picture], *, pool: Literal["mean", "tokens"]
    ) -> PictureFeatures:
        """Raises PictureError for a picture that cannot be looked at."""
        pixels = torch.stack(
            [self._encoder.fit(torch.from_numpy(np.array(one.load()))) for one in pictures]
        )
        parts = [self._of(part, pool=pool) for part in pixels.split(self._at_once)]
        return PictureFeatures(
            stacks={
                name: np.concatenate([part[name] for part in parts]) for name in (ENCODER, BACKBONE)
            },
            pixels=pixels.numpy(),
        )

    @torch.inference_mode()
    def _of(self, pixels: Tensor, *, pool: Literal["mean", "tokens"]) -> dict[str, np.ndarray]:
        encoded = self._encoder.layers(pixels.to(self._model.embedding.weight.device))
        shown = [
            PictureSegment(latents=latents, understanding=self._understood)
            for latents in encoded[-1].cpu().numpy()
        ]
        documents = [prompt_document(interleaved(self._tokenizer, [one])) for one in shown]
        batch = self._pack(documents)
        index_IT = batch.understood_index_JT if self._understood else batch.index_IT
        with _kept(self._model, index_IT) as seen:
            self._model.hidden(batch, batch.latents_ITC)
        stacks = {ENCODER: encoded, BACKBONE: seen}
        return {
            name: torch.stack([layer.mean(1) if pool == "mean" else layer for layer in layers], 1)
            .cpu()
            .numpy()
            for name, layers in stacks.items()
        }


@contextmanager
def _kept(model: UnifiedModel, index_IT: Tensor) -> Iterator[list[Tensor]]:
    """Inside, what each block writes at the tokens `index_IT` is kept, fp32 [I, T, D] a block."""
    seen: list[Tensor] = []

    def keep(block: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        x_BSD = outputs[0] if isinstance(outputs, tuple) else outputs  # with its routing, or alone
        seen.append(x_BSD.flatten(0, 1)[index_IT].float())

    hooks = [block.register_forward_hook(keep) for block in model.backbone.blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
