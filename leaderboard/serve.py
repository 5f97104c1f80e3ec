"""The site on this machine, to look at before it is published: on the loopback interface only."""

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """Files of the site. A page elsewhere that names us by a host of its own is refused, so that it
    cannot read the site through the visitor's browser (DNS rebinding)."""

    def send_head(self) -> Any:
        host, _, _ = (self.headers.get("Host") or "").partition(":")
        if host not in (HOST, "localhost"):
            self.send_error(403)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked for is of no interest."""


def make_server(folder: Path, *, port: int) -> ThreadingHTTPServer:
    """A server of `folder`; port 0 takes a free one. Raises UserError where the port is taken."""
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"Port {port} cannot be used: {error.strerror}.", fix="Choose another with --port."
        ) from error


def serve(folder: Path, *, port: int, ready: Callable[[str], object]) -> None:
    """Serve until interrupted; `ready` is told the address."""
    with make_server(folder, port=port) as server:
        ready(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()
