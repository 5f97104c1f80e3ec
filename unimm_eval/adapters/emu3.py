"""`emu3:`: Emu3, by transformers (arXiv 2409.18869).

A picture is rows of tokens of the one vocabulary, each row with an end of its own; its size is told
before it and kept by allowing nothing else. The empty row of guidance is a picture of no prompt.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters.hf_generate import Asked, Drawn, generate
from unimm_eval.adapters.hf_unified import Guided, HubUnified, as_pictures

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


AREA = 720 * 720
"""Pixels of a picture: what the model was published with."""


class Emu3(HubUnified):
    """Square pictures, of 8,190 tokens each."""

    summary = "Emu3 by transformers: text, questions about pictures, and pictures"
    examples = ("emu3:ORG/NAME", "emu3:path/to/folder")
    prefix = "emu3:"
    model_type = "emu3"

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of a picture in tokens, without the ends of rows."""
        processor = self._processor
        height, width = processor.calculate_generate_size("1:1", AREA, processor.downsample_ratio)
        return height, width

    @property
    def _picture_tokens(self) -> int:
        height, width = self._size
        return height * (width + 1)

    def _picture_prompt(self, prompt: str) -> list[int]:
        processor = self._processor
        height, width = self._size
        shown = f"{processor.image_start_token}{height}*{width}{processor.fake_token_around_image}"
        begins = self._tokens.tokenizer.bos_token
        return self._tokens.whole(f"{begins}{prompt}{shown}")

    def _draw(self, rows: Sequence[Asked], scales: Sequence[float] | None) -> "list[np.ndarray]":
        import torch

        height, width = self._size
        asked = list(rows)
        drawn: Any = Drawn(rows)
        if scales is not None:
            asked += [Asked(ids=self._picture_prompt(""))] * len(rows)
            drawn = partial(_both, Guided(rows, scales))
        start = max(len(row.ids) for row in asked)
        visual = self._model.vocabulary_mapping.image_tokens
        end_of_row = [self._model.vocabulary_mapping.eol_token_id]

        def allowed(row: int, ids_S: "Tensor") -> list[int]:
            column = (len(ids_S) - start) % (width + 1)
            return end_of_row if column == width else visual

        made = generate(
            self._writer,
            asked,
            max_new_tokens=self._picture_tokens,
            eos_token_id=None,
            prefix_allowed_tokens_fn=allowed,
            logits_processor=[drawn],
        )
        # The decoder leaves out the three tokens that close a picture, which are not made here.
        tokens_RT = torch.tensor([[*ids, 0, 0, 0] for ids in made[: len(rows)]])
        with torch.inference_mode():
            values_R3HW = self._model.decode_image_tokens(
                image_tokens=tokens_RT.to(self._model.device), height=height, width=width
            )
        return as_pictures(self._processor, values_R3HW.movedim(1, -1))


def _both(guided: Guided, ids_QS: "Tensor", scores_QV: "Tensor") -> "Tensor":
    """The same draw for a prompt's row and the empty one beside it."""
    return guided(ids_QS, scores_QV).repeat(2, 1)
