"""Conversations with a transformers text model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from unimm_eval.adapters.hf_generate import Asked, Writer, choose, continue_ids
from unimm_eval.adapters.hf_tokens import HubTokens
from unimm_eval.api import ChatRequest, Picture, SampleError


class HubChat:
    """Answers in the tokenizer's chat template; as plain text where there is none."""

    def __init__(
        self,
        model: Any,
        tokens: HubTokens,
        *,
        name: str,
        generate: Callable[..., Any] | None = None,
    ) -> None:
        """`generate` is used in place of the model's own."""
        self._tokens = tokens
        self._name = name
        self._writer = Writer(
            model=model,
            tokenizer=tokens.tokenizer,
            pad=tokens.pad,
            generate=generate or model.generate,
        )

    def answers(self, requests: Sequence[ChatRequest]) -> list[str]:
        """Raises SampleError for a picture, and for a request that does not fit with its answer."""
        found: dict[int, str] = {}
        for length, rows in _by_length(requests).items():
            asked = [requests[row] for row in rows]
            texts = self._choose(asked) if length is None else self._continue(asked, length)
            found.update(zip(rows, texts, strict=True))
        return [found[row] for row in range(len(requests))]

    def _choose(self, requests: Sequence[ChatRequest]) -> list[str]:
        """One of the choices of each request; each ends in the end token, so that none begins
        another."""
        choices = [request.choices or () for request in requests]
        options = [
            [[*ids, self._tokens.end] for ids in self._tokens.encode(texts)] for texts in choices
        ]
        longest = max(len(ids) for texts in options for ids in texts)
        rows = [self._prompt(request, new_tokens=longest) for request in requests]
        chosen = choose(self._writer, rows, options)
        return [texts[index] for texts, index in zip(choices, chosen, strict=True)]

    def _continue(self, requests: Sequence[ChatRequest], max_new_tokens: int) -> list[str]:
        """Free text, up to a stop string or `max_new_tokens`."""
        rows = [
            replace(
                self._prompt(request, new_tokens=max_new_tokens),
                stop=request.stop,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
            )
            for request in requests
        ]
        texts = continue_ids(self._writer, rows, max_new_tokens=max_new_tokens)
        return [_cut(text, r.stop) for text, r in zip(texts, requests, strict=True)]

    def _prompt(self, request: ChatRequest, *, new_tokens: int) -> Asked:
        """What is continued. Text that is put in no template loses its beginning where it
        does not fit, as with lm-eval. Raises SampleError."""
        room = self._tokens.most - new_tokens
        if not request.template:
            ids = self._tokens.whole(self._text(request, request.parts)) or [self._tokens.prefix]
            ids = ids[-room:] if room > 0 else ids
        elif self._tokens.tokenizer.chat_template:
            shown = self._tokens.tokenizer.apply_chat_template(
                self._messages(request), tokenize=False, add_generation_prompt=True
            )
            (ids,) = self._tokens.encode([shown])
        else:
            told = "\n".join(message["content"] for message in self._messages(request))
            ids = self._tokens.whole(told) or [self._tokens.prefix]
        asked = Asked(ids=ids)
        self._check_fits(request, asked, new_tokens=new_tokens)
        return asked

    def _check_fits(self, request: ChatRequest, asked: Asked, *, new_tokens: int) -> None:
        """Raises SampleError."""
        if len(asked.ids) + new_tokens > self._tokens.most:
            raise SampleError(
                f"Sample {request.sample_id} needs {len(asked.ids) + new_tokens:,} tokens, but "
                f"{self._name} has room for {self._tokens.most:,}.",
                fix="Leave it out, or judge a model with room for more.",
            )

    def _messages(self, request: ChatRequest) -> list[dict[str, str]]:
        """The conversation by roles. Raises SampleError for a picture."""
        messages = []
        for turn in request.history:
            messages.append({"role": "user", "content": self._text(request, turn.parts)})
            messages.append({"role": "assistant", "content": turn.answer})
        return [*messages, {"role": "user", "content": self._text(request, request.parts)}]

    def _text(self, request: ChatRequest, parts: Sequence[str | Picture]) -> str:
        if any(isinstance(part, Picture) for part in parts):
            raise SampleError(
                f"Sample {request.sample_id} shows a picture, and {self._name} reads only text."
            )
        return "".join(part for part in parts if isinstance(part, str))


def _by_length(requests: Sequence[ChatRequest]) -> dict[int | None, list[int]]:
    """Rows by how many tokens may be made for them; None where they choose."""
    groups: dict[int | None, list[int]] = {}
    for row, request in enumerate(requests):
        length = request.max_new_tokens if request.choices is None else None
        groups.setdefault(length, []).append(row)
    return groups


def _cut(text: str, stop: Sequence[str]) -> str:
    ends = [text.index(word) for word in stop if word in text]
    return text[: min(ends)] if ends else text
