"""A file server on loopback that can drop, refuse ranges, fail and lie."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What is served by path; each request takes the next of `ways` (then serves in order).

    A way is "whole", "norange", "drop:N" (closes after N bytes) or an HTTP status.
    """

    files: dict[str, bytes]
    ways: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    etags: bool = False
    url: str = ""


@contextmanager
def serving(state: Files) -> Iterator[Files]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            way = state.ways.pop(0) if state.ways else "whole"
            data = state.files.get(self.path)
            if way.isdecimal() or data is None:
                self.send_error(int(way) if way.isdecimal() else 404)
                return
            tag = f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"'
            changed = self.headers.get("If-Range", tag) != tag
            start = int(asked[6:-1]) if asked and way != "norange" and not changed else 0
            if asked and start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if state.etags:
                self.send_header("ETag", tag)
            self.end_headers()
            body = data[start:]
            if way.startswith("drop:"):
                body = body[: int(way[5:])]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
