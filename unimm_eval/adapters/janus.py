"""`janus:`: Janus and Janus-Pro, by transformers (arXiv 2410.13848, 2501.17811).

A picture is as many tokens of its own vocabulary as its frozen encoder shows of one. The empty row
of guidance is the prompt's, with everything between its beginning and the picture blanked out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unimm_eval.adapters.hf_files import Origin
from unimm_eval.adapters.hf_generate import Asked, padded
from unimm_eval.adapters.hf_unified import Guided, HubUnified, as_pictures

if TYPE_CHECKING:
    import numpy as np


class Janus(HubUnified):
    """Transformers' own loop, whose guidance and draws are replaced by those of each request."""

    summary = "Janus and Janus-Pro by transformers: text, questions about pictures, and pictures"
    examples = ("janus:deepseek-community/Janus-Pro-1B", "janus:path/to/folder")
    prefix = "janus:"
    model_type = "janus"

    def __init__(self, model: Any, processor: Any, *, origin: Origin) -> None:
        super().__init__(model, processor, origin=origin)
        start = processor.tokenizer.convert_tokens_to_ids(processor.image_start_token)
        self._model.generation_config.generation_kwargs = {"boi_token_id": start}

    @property
    def _picture_tokens(self) -> int:
        return int(self._model.config.vision_config.num_image_tokens)

    def _picture_prompt(self, prompt: str) -> list[int]:
        conversation = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
        shown = self._processor.apply_chat_template(conversation, add_generation_prompt=True)
        return self._tokens.whole(shown + self._processor.image_start_token)

    def _draw(self, rows: Sequence[Asked], scales: Sequence[float] | None) -> "list[np.ndarray]":
        import torch

        # The loop always computes both rows and, at a guidance of 1, leaves joining them to us.
        drawn = Guided(rows, [1.0] * len(rows) if scales is None else scales)
        with torch.inference_mode():
            tokens_RT = self._model.generate(
                **padded(self._writer, rows),
                generation_mode="image",
                logits_processor=[drawn],
                guidance_scale=1.0,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                bos_token_id=self._tokens.prefix,
                pad_token_id=self._tokens.pad,
            )
            values_RHW3 = self._model.decode_image_tokens(tokens_RT)
        return as_pictures(self._processor, values_RHW3)
