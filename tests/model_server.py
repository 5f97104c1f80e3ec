"""An OpenAI-compatible server on a real socket, for a model under evaluation: chats, completions
that repeat their prompt with log-probabilities, pictures. It repeats the key wherever it can."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from unimm_eval.api import encode_png

KEY = "sk-canary-5f1e0c9d"
MODEL = "org/tiny"


def saying(body: dict[str, Any]) -> str:
    """An answer that depends on the whole request, and begins with one of the usual ones."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return f"{('A', 'B', 'yes', 'no')[int(digest[0], 16) % 4]} {digest}"


@dataclass
class ModelServer:
    """`chat` answers a chat; `complete` is its completions (None: not offered), `takes` what it
    takes of a picture's settings (None: pictures are not offered); `fault(path, nth)` is a status
    to fail with, or 0."""

    chat: Callable[[dict[str, Any]], str] | None = saying
    complete: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    takes: frozenset[str] | None = None
    fault: Callable[[str, int], int] = lambda path, nth: 0
    version: str = "tiny-2026-01-01"
    root: str = "weights/tiny"
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def spec(self) -> str:
        return f"openai:{MODEL}@{self.url}/v1"

    def answer(self, path: str, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            nth = sum(there == path for there, _ in self.bodies)
            self.bodies.append((path, body))
        if status := self.fault(path, nth):
            return status, {"error": {"message": f"no, {key}"}}
        known = {"model": self.version, "note": key}
        if path == "chat/completions" and self.chat is not None:
            message = {"role": "assistant", "content": f"{self.chat(body)} {key}"}
            return 200, known | {"choices": [{"message": message, "finish_reason": "stop"}]}
        if path == "completions" and self.complete is not None:
            return 200, known | self.complete(body)
        if path == "images/generations" and self.takes is not None:
            if "prompt" not in body:
                return 400, {"error": {"message": "prompt is missing"}}
            if odd := body.keys() - self.takes - {"model", "prompt", "n"}:
                return 400, {"error": {"message": f"unknown: {sorted(odd)}"}}
            return 200, {"data": [{"b64_json": base64.b64encode(picture(body)).decode()}]}
        return 404, {"error": {"message": f"nothing at {path}"}}


def picture(body: dict[str, Any]) -> bytes:
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(str(body).encode()).digest()[:4]))
    return encode_png(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))


@contextmanager
def serving(state: ModelServer) -> Iterator[ModelServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                rows = [{"id": "other"}, {"id": MODEL, "root": state.root, "created": 1}]
                self.reply(200, {"data": rows})
            else:
                self.reply(404, {"error": {"message": "nothing there"}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            sent = self.headers.get("Authorization", "")
            if sent != f"Bearer {KEY}":
                self.reply(401, {"error": {"message": f"wrong key: {sent}"}})
                return
            self.reply(*state.answer(self.path.removeprefix("/v1/"), body, KEY))

        def reply(self, status: int, document: dict[str, Any]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
