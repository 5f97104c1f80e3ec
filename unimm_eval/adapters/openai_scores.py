"""Likelihoods of text from a server that repeats a prompt with its log-probabilities (`echo`).

Tokens are the server's. How many of them are context is what the server counts for the context
alone, as lm-eval does with the tokenizer at hand; so spaces that end a context belong to its
continuation. A server whose tokenizer puts nothing before a text cannot score its first token:
neither that token nor its bytes are counted then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unimm_eval.adapters.openai_server import COMPLETIONS, Server
from unimm_eval.api import ContinuationRequest, DocumentRequest, SampleError, TextScore


@dataclass(frozen=True, kw_only=True)
class Echo:
    """A prompt's tokens as the server has them, with log p of each (None: not predicted) and
    whether it was the likeliest."""

    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...]
    greedy: tuple[bool, ...]


def echo_body(prompt: str) -> dict[str, Any]:
    """One token is generated since some servers refuse to generate none."""
    return {"prompt": prompt, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}


def read_echo(answer: dict[str, Any]) -> Echo:
    """Raises ValueError when the answer does not hold the prompt's log-probabilities."""
    try:
        count = int(answer["usage"]["prompt_tokens"])
        found = answer["choices"][0]["logprobs"]
        tokens = tuple(map(str, found["tokens"][:count]))
        logprobs = tuple(found["token_logprobs"][:count])
        tops = list(found["top_logprobs"][:count])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("its answer has no log-probabilities of the prompt") from error
    lengths = {len(tokens), len(logprobs), len(tops)}
    extra = len(found["token_logprobs"]) - count
    if lengths != {count} or extra > 1 or any(_no_number(value) for value in logprobs[1:]):
        raise ValueError("its log-probabilities are not those of the prompt")
    greedy = tuple(
        value is not None and bool(top) and value >= max(top.values())
        for value, top in zip(logprobs, tops, strict=True)
    )
    return Echo(tokens=tokens, logprobs=logprobs, greedy=greedy)


def _no_number(value: object) -> bool:
    return not isinstance(value, int | float) or not math.isfinite(value)


class ServerScores:
    """Scores text. `begins` says whether the server puts a token before every text."""

    def __init__(self, server: Server, *, begins: bool) -> None:
        self._server = server
        self._begins = begins

    def score_continuations(self, requests: Sequence[ContinuationRequest]) -> list[TextScore]:
        """A request that does not fit is refused, not cut. Raises SampleError."""
        first = {request.context.rstrip(): request.sample_id for request in requests}
        counts = self._server.each(lambda context: self._count(first[context], context), [*first])
        lengths = dict(zip(first, counts, strict=True))
        return self._server.each(
            lambda request: self._continuation(request, lengths[request.context.rstrip()]),
            requests,
        )

    def score_documents(self, requests: Sequence[DocumentRequest]) -> list[TextScore]:
        """Each in one window. Raises SampleError for a document of more tokens than the window:
        only who has the tokenizer can cut it as others do."""
        return self._server.each(self._document, requests)

    def _count(self, sample_id: str, context: str) -> int:
        if not context:
            return int(self._begins)
        body = {"prompt": context, "max_tokens": 1, "temperature": 0.0}
        answer = self._server.ask_for(sample_id, COMPLETIONS, body, tokens=len(context) // 4)
        return int(answer["usage"]["prompt_tokens"])

    def _continuation(self, request: ContinuationRequest, skipped: int) -> TextScore:
        echo = self._echo(request.sample_id, request.context + request.continuation)
        scored = echo.logprobs[skipped:]
        if not scored or None in scored:
            raise SampleError(
                f"Sample {request.sample_id}: a continuation of {len(scored)} tokens after a "
                f"context of {skipped} cannot be scored by {self._server.spec.model}."
            )
        return TextScore(
            nats=-math.fsum(value for value in scored if value is not None),
            tokens=len(scored),
            bytes=len(request.continuation.encode()),
            is_greedy=all(echo.greedy[skipped:]),
        )

    def _document(self, request: DocumentRequest) -> TextScore:
        if not request.text:
            return TextScore(nats=0.0, tokens=0, bytes=0)
        echo = self._echo(request.sample_id, request.text)
        own = echo.tokens[int(self._begins) :]
        if len(own) > request.max_length:
            raise SampleError(
                f"Sample {request.sample_id} has {len(own):,} tokens, and {request.max_length:,} "
                "are to be seen at once: a server is given text, which cannot be cut by tokens.",
                fix="Choose a larger window, or cut the documents.",
            )
        scored = [value for value in echo.logprobs if value is not None]
        unscored = "" if self._begins or echo.logprobs[0] is not None else own[0]
        return TextScore(
            nats=-math.fsum(scored[len(scored) - len(own) :] if self._begins else scored),
            tokens=len(own) - bool(unscored),
            bytes=len(request.text.encode()) - len(unscored.encode()),
        )

    def _echo(self, sample_id: str, text: str) -> Echo:
        answer = self._server.ask_for(
            sample_id, COMPLETIONS, echo_body(text), tokens=len(text) // 4
        )
        try:
            return read_echo(answer)
        except ValueError as error:
            raise SampleError(f"Sample {sample_id}: {self._server.spec.model}: {error}.") from error
