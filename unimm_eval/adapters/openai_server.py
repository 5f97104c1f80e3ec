"""One OpenAI-compatible server under evaluation: asked in parallel, by the judges' client.

A request that the server refuses is its sample's fault; a server that does not answer is an outage,
which ends the task as incomplete: nothing is guessed, and the same command asks again.
"""

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from unimm_eval.api import IncompleteError, SampleError, UserError
from unimm_eval.judges.openai import key_for, parse_spec
from unimm_eval.judges.session import OutageError, Patience, RefusedError, Session
from unimm_eval.judges.settings import JudgeSettings

PREFIX = "openai:"
KEY_VARIABLE = "UNIMM_EVAL_MODEL_KEY"
CHAT, COMPLETIONS, IMAGES, MODELS = (
    "chat/completions",
    "completions",
    "images/generations",
    "models",
)
_LISTS = {CHAT: "choices", COMPLETIONS: "choices", IMAGES: "data", MODELS: "data"}
_LIMITS = ("concurrency", "requests_per_minute", "tokens_per_minute")
_FIX = (
    "Give --model openai:MODEL@URL, with limits of the server behind it where it has some: "
    "openai:MODEL@URL?concurrency=16&requests_per_minute=500&tokens_per_minute=100000."
)
_TIMEOUT_S = 600.0  # a picture, or a long answer

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """The model by its name there, the server's URL, and how fast it may be asked."""

    model: str
    url: str
    limits: JudgeSettings = field(default_factory=JudgeSettings)

    @classmethod
    def parse(cls, spec: str) -> "ServerSpec":
        """Raises UserError, without showing what could be a key."""
        whole, mark, query = spec.partition("?")
        model, url = parse_spec(whole, role="model", key_variable=KEY_VARIABLE)
        given = parse_qsl(query, keep_blank_values=True)
        if (mark and not given) or any(name not in _LIMITS for name, _ in given):
            raise UserError(
                f"The model {whole} is given with something else than {', '.join(_LIMITS)}.",
                fix=_FIX,
            )
        wrong = [name for name, value in given if not re.fullmatch(r"[1-9]\d{0,8}", value)]
        if wrong:
            raise UserError(f"The model {whole}: {wrong[0]} is no whole number above 0.", fix=_FIX)
        limits: dict[str, Any] = {name: int(value) for name, value in given}
        return cls(model=model, url=url, limits=replace(JudgeSettings(), **limits))


class Server:
    """Thread-safe. `versions` is what the model must call itself, by the address it answers at."""

    def __init__(
        self,
        spec: ServerSpec,
        *,
        patience: Patience | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Raises UserError when there is no key where one is needed."""
        stack = ExitStack()
        weakref.finalize(self, stack.close)
        key = key_for(spec.url, role="model", variable=KEY_VARIABLE)
        self.spec = spec
        self._sessions = {
            address: stack.enter_context(
                Session(
                    url=f"{spec.url}/{address}",
                    name=spec.model,
                    key=key,
                    expected=(versions or {}).get(address),
                    settings=spec.limits,
                    patience=patience or Patience(timeout_s=_TIMEOUT_S),
                    answers_in=answers_in,
                    role="model",
                    key_variable=KEY_VARIABLE,
                )
            )
            for address, answers_in in _LISTS.items()
        }

    def ask(
        self, address: str, body: Mapping[str, Any] | None, *, tokens: int = 0
    ) -> dict[str, Any]:
        """The answer at `address` to `body` and the model's name, without the key should it be
        repeated there. Raises RefusedError, IncompleteError or UserError."""
        session = self._sessions[address]
        try:
            asked = None if body is None else {"model": self.spec.model, **body}
            answer: dict[str, Any] = session.scrubbed(session.ask(asked, tokens=tokens))
        except OutageError as error:
            raise IncompleteError(
                f"The model {self.spec.model} at {self.spec.url} does not answer: {error}.",
                fix="Start the server or wait for it; then the same command goes on.",
            ) from error
        return answer

    def ask_for(
        self, sample_id: str, address: str, body: Mapping[str, Any], *, tokens: int = 0
    ) -> dict[str, Any]:
        """`ask` for one sample. Raises SampleError where the server refuses it."""
        try:
            return self.ask(address, body, tokens=tokens)
        except RefusedError as error:
            raise SampleError(f"Sample {sample_id}: {self.spec.model} refuses: {error}.") from error

    def each(self, answer: Callable[[T], R], requests: Sequence[T]) -> list[R]:
        """`answer` of every request, several at once, in order. Raises what one of them raises."""
        limit = self.spec.limits.concurrency
        with ThreadPoolExecutor(limit, thread_name_prefix="model") as pool:
            try:
                return list(pool.map(answer, requests))
            except KeyboardInterrupt:
                for session in self._sessions.values():
                    session.stop.set()
                raise
