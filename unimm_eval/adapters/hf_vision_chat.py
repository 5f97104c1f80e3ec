"""Conversations about pictures with a transformers model."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from unimm_eval.adapters.hf_chat import HubChat
from unimm_eval.adapters.hf_generate import Asked
from unimm_eval.adapters.hf_tokens import HubTokens
from unimm_eval.api import ChatRequest, Picture, SampleError


class VisionChat(HubChat):
    """Answers in the processor's chat template, pictures where the request has them.

    The processor is given one conversation at a time, so that no picture is padded to the size of
    another's: what a batch adds is the padding of text alone.
    """

    def __init__(self, model: Any, tokens: HubTokens, *, name: str, processor: Any) -> None:
        from transformers import GenerationMixin

        # Not a class's own, which may do something besides: Janus' takes no drawing of ours.
        generate = partial(GenerationMixin.generate, model)
        super().__init__(model, tokens, name=name, generate=generate)
        self._processor = processor

    def _prompt(self, request: ChatRequest, *, new_tokens: int) -> Asked:
        """Raises SampleError, also for a picture that the processor cannot use, and for one that no
        template says the place of."""
        if not request.template:
            return super()._prompt(request, new_tokens=new_tokens)
        messages = []
        for turn in request.history:
            messages.append({"role": "user", "content": _content(turn.parts)})
            messages.append({"role": "assistant", "content": _content((turn.answer,))})
        messages.append({"role": "user", "content": _content(request.parts)})
        try:
            made = self._processor.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        except ValueError as error:
            raise SampleError(
                f"Sample {request.sample_id}: the processor of {self._name} cannot use it: {error}"
            ) from error
        beside = {
            name: value
            for name, value in made.items()
            if name not in ("input_ids", "attention_mask")
        }
        asked = Asked(ids=made["input_ids"][0].tolist(), beside=beside)
        self._check_fits(request, asked, new_tokens=new_tokens)
        return asked

    def _text(self, request: ChatRequest, parts: Sequence[str | Picture]) -> str:
        if any(isinstance(part, Picture) for part in parts):
            raise SampleError(
                f"Sample {request.sample_id} shows a picture outside a chat template, where "
                f"{self._name} has no place for one."
            )
        return super()._text(request, parts)


def _content(parts: Sequence[str | Picture]) -> list[dict[str, Any]]:
    """Parts of a turn as processors take them, in order."""
    from PIL import Image

    return [
        {"type": "image", "image": Image.fromarray(part.load())}
        if isinstance(part, Picture)
        else {"type": "text", "text": part}
        for part in parts
    ]
