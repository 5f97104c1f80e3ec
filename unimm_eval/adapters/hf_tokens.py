"""Tokens of a transformers model, as lm-eval makes them."""

from collections.abc import Sequence
from typing import Any

from unimm_eval.api import UserError

_LENGTHS = ("n_positions", "max_position_embeddings", "n_ctx")
_UNBOUNDED = 10**9
"""What a model without a limit can be given; tokenizers say it by a larger number."""


class HubTokens:
    """A tokenizer with the tokens and the length that scoring and answering need.

    `prefix` is what a first token is predicted from: the token for a text's beginning, else its
    end. `end` closes an answer and `pad` fills rows.
    """

    def __init__(self, tokenizer: Any, config: Any, *, name: str) -> None:
        """Raises UserError when the tokenizer has no token that a text can begin with."""
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        if begin is None and end is None:
            raise UserError(
                f"{name}: its tokenizer has no token for the beginning or the end of a text, so "
                "that a first token cannot be predicted.",
                fix="Set bos_token in its tokenizer_config.json.",
            )
        self.tokenizer = tokenizer
        self.prefix: int = end if begin is None else begin
        self.end: int = begin if end is None else end
        self.pad: int = self.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.max_length = _max_length(config, tokenizer)

    @property
    def most(self) -> int:
        """Most tokens that the model is given at once."""
        return _UNBOUNDED if self.max_length is None else self.max_length

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without what the tokenizer would put around it."""
        if not texts:
            return []
        found = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [list(ids) for ids in found["input_ids"]]

    def whole(self, text: str) -> list[int]:
        """Ids of a text with what the tokenizer puts around it, which is not put there twice."""
        begins = self.tokenizer.bos_token
        twice = bool(begins) and text.startswith(begins)
        found = self.tokenizer(text, add_special_tokens=not twice, verbose=False)
        return list(found["input_ids"])


def _max_length(config: Any, tokenizer: Any) -> int | None:
    """What the model's configuration or its tokenizer says; None where neither does."""
    text = config.get_text_config()
    for name in _LENGTHS:
        if (length := getattr(text, name, None)) is not None:
            return int(length)
    length = tokenizer.model_max_length
    return int(length) if length is not None and length < _UNBOUNDED else None
