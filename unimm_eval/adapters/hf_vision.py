"""`hf:`, shown pictures: vision-language models of transformers with their own processor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unimm_eval.adapters.hf import HubModel
from unimm_eval.adapters.hf_files import HubSource, Origin, load_weights, refused
from unimm_eval.adapters.hf_routing import HubMixture, routers_of
from unimm_eval.adapters.hf_vision_chat import VisionChat
from unimm_eval.api import UserError

_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_SAYS_TEMPLATE = ("processor_config.json", "tokenizer_config.json")
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


class HubVision(HubModel):
    """A decoder that is shown pictures between its text: writes in the processor's chat template,
    and scores text alone as a text model does."""

    reads_pictures = True

    def __init__(self, model: Any, processor: Any, *, origin: Origin) -> None:
        """Raises UserError when the tokenizer has no token that a text can begin with."""
        super().__init__(model, processor.tokenizer, origin=origin)
        self._processor = processor
        self._chat = VisionChat(model, self._tokens, name=self.name, processor=processor)
        # Some of these models remember the positions of the last picture they were shown.
        self._shares = False

    def describe(self) -> Mapping[str, Any]:
        return {
            **super().describe(),
            "processor": type(self._processor).__name__,
            "chat_template": True,
        }


class HubVisionMixture(HubVision, HubMixture):
    """One whose language part has experts."""


def reads_pictures(source: HubSource, folder: Path, config: Any) -> bool:
    """Whether a checkpoint is shown pictures, from its configuration and the names of its files.

    A model of a kind that also continues plain text does just that where it has no chat template
    or no processor of pictures. Raises UserError where it can do neither.
    """
    import transformers

    where = f"{source.prefix}{source.place}"
    continues = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if type(config) not in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        if continues:
            return False
        raise UserError(
            f"{where}: {config.model_type} is no language model that transformers can continue "
            "text with, and no vision-language model.",
            fix="Choose a causal language model, or one that is shown pictures.",
        )
    lacking = ""
    if getattr(config, "is_encoder_decoder", False):
        lacking = "is an encoder with a decoder, which continues no text"
    elif not any((folder / name).is_file() for name in _PROCESSORS):
        lacking = f"has no processor of pictures ({' or '.join(_PROCESSORS)})"
    elif not _has_template(folder):
        lacking = "has no chat template, which says where a picture stands in the text"
    if lacking and not continues:
        raise UserError(
            f"{where}: this {config.model_type} {lacking}.",
            fix="Choose a checkpoint that was tuned to answer, with its processor.",
        )
    return not lacking


def load_vision(
    source: HubSource, folder: Path, config: Any, *, device: str, dtype: str
) -> HubVision:
    """Raises UserError."""
    model, processor = load_parts(source, folder, config, device=device, dtype=dtype)
    made = HubVisionMixture if routers_of(model) else HubVision
    return made(model, processor, origin=source.origin(folder))


def load_parts(
    source: HubSource, folder: Path, config: Any, *, device: str, dtype: str
) -> tuple[Any, Any]:
    """Model and processor. Raises UserError."""
    import transformers

    network: Any = transformers.AutoModelForImageTextToText
    model = load_weights(source, folder, config, network=network, device=device, dtype=dtype)
    with refused(source):
        processor: Any = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    return model, processor


def _has_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in _TEMPLATES):
        return True
    for path in (folder / name for name in _SAYS_TEMPLATE):
        if not path.is_file():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # loading it will say so
        if isinstance(document, dict) and document.get("chat_template"):
            return True
    return False
