"""Messages between two processes: JSON behind its length, over a socket. Never pickle.

Python's own dialect of JSON keeps NaN, infinities and every digit of a float; what a library
returns as numpy numbers and arrays arrives as numbers and lists, tuples as lists.
"""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

_LENGTH = struct.Struct(">Q")
_CHUNK = 1 << 20


class Channel:
    """One end of a connection; one thread sends and one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises TypeError, before anything is sent, for what is not JSON; OSError when the other
        side is gone."""
        data = json.dumps(message, default=_plain).encode("ascii")
        self.connection.settimeout(None)
        self.connection.sendall(_LENGTH.pack(len(data)))
        self.connection.sendall(data)

    def receive(self, *, seconds: float | None = None) -> dict[str, Any] | None:
        """The next message, or None when the other side is gone.

        Raises TimeoutError when it is not there in time; the connection is of no use then.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        head = self._exactly(_LENGTH.size, deadline)
        if head is None:
            return None
        data = self._exactly(_LENGTH.unpack(head)[0], deadline)
        return None if data is None else json.loads(data)

    def close(self) -> None:
        self.connection.close()

    def _exactly(self, size: int, deadline: float | None) -> bytes | None:
        """`size` bytes, or None when the connection ends before."""
        data = bytearray()
        while len(data) < size:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(min(size - len(data), _CHUNK))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as Python's, without importing numpy."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent to another process")
