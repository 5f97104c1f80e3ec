"""Real servers, and a real program that is killed, for the tests of the data tools."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unimm_eval.cli.program import run_program
from unimm_eval.cli.train import app
from unimm_eval.judges.session import Patience

ROOT = Path(__file__).parents[2]
QUICK = Patience(first_wait_s=0.001, longest_wait_s=0.004, timeout_s=2.0)


def picture(path: Path, number: int) -> Path:
    """A small picture that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(256, size=(6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class Killer:
    """Kills `child` a random while after the server was asked for the `at`-th time."""

    at: int = 0
    asked: int = 0
    delay_s: float = 0.0
    child: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> None:
        """To be called at each request."""
        with self._lock:
            self.asked += 1
            if self.child is not None and self.asked == self.at:
                threading.Timer(self.delay_s, self.child.send_signal, [signal.SIGKILL]).start()


def run_killed(arguments: list[str], killer: Killer, *, rng: random.Random, requests: int) -> int:
    """Run `unimm-train` and kill it; its exit status."""
    killer.asked, killer.at = 0, rng.randint(2, requests)
    killer.delay_s = rng.random() * 0.03
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    killer.child = subprocess.Popen(
        [sys.executable, "-m", "unimm_eval.cli.train", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return killer.child.wait(timeout=120)
    finally:
        killer.child.kill()
        killer.child = None


def run(arguments: list[str]) -> int:
    """The exit code of `unimm-train` in this process."""
    return run_program(app, arguments)


def vector_of(text: str, *, dimensions: int = 12) -> list[float]:
    """A vector that depends on the text, around one that depends on its first word."""
    seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:4]) for t in (text, text[:4])]
    own, shared = (np.random.default_rng(seed).normal(size=dimensions) for seed in seeds)
    return [float(value) for value in shared + 0.5 * own]


@dataclass
class EmbeddingServer:
    """`/v1/embeddings`; refuses a batch that holds a text with "poison" in it."""

    fault: Callable[[list[str]], int] = lambda texts: 0
    asked: list[list[str]] = field(default_factory=list)
    killer: Killer = field(default_factory=Killer)
    url: str = ""

    @property
    def spec(self) -> str:
        return f"openai:embed-1@{self.url}/v1"


@contextmanager
def embedding_server(state: EmbeddingServer) -> Iterator[EmbeddingServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = body["input"]
            state.asked.append(texts)
            state.killer.count()
            status = state.fault(texts) or (400 if any("poison" in t for t in texts) else 200)
            rows = [{"index": n, "embedding": vector_of(t)} for n, t in enumerate(texts)]
            answer = {"model": "embed-1-0001", "data": rows[::-1]}
            data = json.dumps(answer if status == 200 else {"error": {"message": "no"}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """A client that was killed is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
