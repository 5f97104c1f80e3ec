"""Graders that ask a server by themselves get their answers from us; runs in the child.

Inside `answered(replies)` a request to a chat completion ends in `Unanswered`, which carries the
question, unless its answer is among the replies. It is no Exception, so that no grader can catch it
and make a score of 0, or a random guess, of a question that nobody answered.
"""

import importlib.util
import json
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import requests

from unimm_eval.api import stable_hash


@dataclass
class Unanswered(BaseException):
    """A grader asked this. `key` is what its reply is named by; without messages, `reason` says
    what it wanted instead."""

    key: str = ""
    messages: list[Any] | None = None
    max_tokens: int = 256
    reason: str = ""


class Undecided(BaseException):
    """A grader was about to guess."""


@contextmanager
def answered(replies: Mapping[str, str]) -> Iterator[None]:
    """Answer from `replies`, texts by key; raise Unanswered for anything else."""

    def by_requests(self: Any, method: str, url: Any, *args: Any, **kwargs: Any) -> Any:
        body = kwargs.get("json") or kwargs.get("data")
        response = requests.Response()
        response.status_code = 200
        response._content = json.dumps(_completion(_reply(body, url, replies))).encode()
        return response

    patched: list[tuple[Any, str, Any]] = [(requests.Session, "request", by_requests)]
    for library in _httpx():
        patched += _sending(library, replies)
    patched.append((socket.socket, "connect", _no_connection))
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patched]
    try:
        for owner, name, function in patched:
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _httpx() -> list[Any]:
    """The libraries of that kind: newer clients of openai bring one of their own."""
    names = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
    return [importlib.import_module(name) for name in names]


def _sending(library: Any, replies: Mapping[str, str]) -> list[tuple[Any, str, Any]]:
    def send(self: Any, request: Any, **kwargs: Any) -> Any:
        reply = _reply(request.read(), request.url, replies)
        return library.Response(200, json=_completion(reply), request=request)

    async def send_async(self: Any, request: Any, **kwargs: Any) -> Any:
        reply = _reply(await request.aread(), request.url, replies)
        return library.Response(200, json=_completion(reply), request=request)

    return [(library.Client, "send", send), (library.AsyncClient, "send", send_async)]


def _no_connection(self: socket.socket, address: Any) -> None:
    """Whatever goes to the network by another way has no answer either."""
    raise Unanswered(reason=f"the grader connects to {address!r} by itself")


def _reply(body: Any, url: Any, replies: Mapping[str, str]) -> str:
    try:
        document = json.loads(body) if isinstance(body, str | bytes) else body
        messages = document["messages"]
    except (TypeError, ValueError, KeyError):
        raise Unanswered(reason=f"the grader wants something of {url} by itself") from None
    key = stable_hash(messages)
    if key not in replies:
        limit = document.get("max_tokens") or document.get("max_completion_tokens") or 256
        raise Unanswered(key=key, messages=messages, max_tokens=int(limit))
    return replies[key]


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    head = {"id": "reply", "object": "chat.completion", "created": 0, "model": "judge"}
    return {**head, "choices": [choice], "usage": usage}


class NoDice(ModuleType):
    """`random` for a module that must not guess."""

    def __init__(self) -> None:
        super().__init__("random")
        self.seed = random.seed

    def __getattr__(self, name: str) -> Any:
        raise Undecided
