"""An OpenAI-compatible server on a real socket that answers, delays, drops, rate-limits and lies.

What it does to a question depends on the question and on how often it was asked, so two runs with
the same faults meet the same ones.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1-2026-01-01"


def question_of(body: dict[str, Any]) -> str:
    """All text of a request."""
    texts = []
    for message in body["messages"]:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts += [part["text"] for part in parts if part["type"] == "text"]
    return "\n".join(texts)


def digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def even_or_odd(body: dict[str, Any]) -> str:
    """An answer that depends on the whole request."""
    return f"Score: {digest(json.dumps(body, sort_keys=True)) % 2}"


@dataclass
class JudgeServer:
    """`answer(body)` is what it says; `fault(question, nth)` what it does instead ("" for nothing).

    Faults: an HTTP status ("429", "503", …), "drop", "slow", "html", "empty", "other model".
    """

    answer: Callable[[dict[str, Any]], str] = even_or_odd
    fault: Callable[[str, int], str] = lambda question, nth: ""
    key: str = ""
    model: str = MODEL
    retry_after: str = "0"
    slow_s: float = 1.5
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _asked: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)

    def seen(self, body: dict[str, Any], path: str) -> str:
        question = question_of(body)
        with self._lock:
            self.bodies.append(body)
            self.paths.append(path)
            nth = self._asked[question]
            self._asked[question] += 1
            fault = self.fault(question, nth)
            self.statuses[fault or "200"] += 1
        return fault

    @property
    def spec(self) -> str:
        return f"openai:{self.model}@{self.url}/v1"


@contextmanager
def serving(state: JudgeServer) -> Iterator[JudgeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if state.key and self.headers.get("Authorization") != f"Bearer {state.key}":
                sent = self.headers.get("Authorization")
                self.reply(401, {"error": {"message": f"Incorrect API key provided: {sent}"}})
                return
            fault = state.seen(body, self.path)
            if fault == "drop":
                self.close_connection = True
                return
            if fault == "slow":
                state.released.wait(state.slow_s)
            if fault.isdecimal():
                self.reply(int(fault), {"error": {"message": f"no: {state.key}", "code": fault}})
            elif fault == "quota":
                self.reply(429, {"error": {"message": "no money", "code": "insufficient_quota"}})
            elif fault == "html":
                self.send(200, b"<html>a proxy's page</html>")
            elif fault == "empty":
                self.reply(200, {"choices": [], "model": MODEL})
            elif fault == "refusal":
                message = {"role": "assistant", "content": None}
                choice = {"message": message, "finish_reason": "content_filter"}
                self.reply(200, {"choices": [choice], "model": MODEL})
            else:
                model = "another-model" if fault == "other model" else state.model
                self.reply(200, completion(state.answer(body), body, model=model))

        def reply(self, status: int, document: dict[str, Any]) -> None:
            self.send(status, json.dumps(document).encode())

        def send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status in (429, 503):
                self.send_header("Retry-After", state.retry_after)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that gave up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()


def completion(text: str, body: dict[str, Any], *, model: str) -> dict[str, Any]:
    tokens = len(question_of(body)) // 4
    return {
        "model": model,
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3},
    }
