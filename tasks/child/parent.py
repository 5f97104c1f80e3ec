"""Our side: start a library's server, open sessions, call, and tell what went wrong there."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from unimm_eval import api
from unimm_eval.api import UserError
from unimm_eval.tasks.child.channel import Channel

IMPORT_SECONDS = 600.0
"""A cold import from a network disk takes minutes; one that takes longer hangs."""
CALL_SECONDS = 3600.0
"""Longest wait for one answer, or one item of a stream. A data set may have to be fetched first."""
END_SECONDS = 5.0
_TAIL_LINES = 8
_TAIL_CHARACTERS = 2000
_OURS = {"UserError", "IncompleteError", "SampleError", "PictureError"}

_libraries: dict[str, "Library"] = {}
_libraries_lock = threading.Lock()


class LibraryError(Exception):
    """A library raised, died or did not answer: `kind` is the class of what it raised, and `log`
    the file that holds everything it printed, with the traceback."""

    def __init__(self, library: str, *, kind: str, what: str, log: Path) -> None:
        self.kind = kind
        self.log = log
        text = f"{library}: {kind}: {what}"
        if tail := _tail(log):
            text += f"\nIt last printed:\n{tail}"
        super().__init__(f"{text}\nIts log: {log}")


class Library:
    """The server of one library. Started by the first session, ended with this process."""

    def __init__(self, module: str, *, import_seconds: float = IMPORT_SECONDS) -> None:
        """`module` holds a class `Session`, of which every session makes one; its methods are what
        can be called. A constant `NAME` there is what errors call the library."""
        self.module = self._name = module
        self._import_seconds = import_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Channel | None = None
        self._folder: Path | None = None
        self._owner = os.getpid()
        self._sessions = 0
        self._keep_logs = False

    def session(self) -> "Session":
        """A fresh process with the library imported. Raises LibraryError when it cannot be."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            control = self._started()
            self._sessions += 1
            log = self._logs / f"session-{self._sessions}.log"
            try:
                control.send({"do": "open", "log": str(log)})
                socket.send_fds(control.connection, [b"\0"], [theirs.fileno()])
                reply = control.receive(seconds=END_SECONDS)
            except OSError:  # the server is gone, or answers no more
                reply = None
            if reply is None:
                self._stop()
                ours.close()
                raise self.error("Died", "its server ended unexpectedly", self._server_log)
        return Session(self, Channel(ours), pid=reply["pid"], log=log)

    def error(self, kind: str, what: str, log: Path) -> LibraryError:
        self._keep_logs = True
        return LibraryError(self._name, kind=kind, what=what, log=log)

    def reap(self, pid: int, *, seconds: float) -> int | None:
        """The wait status of a session's process, killed if it does not end within `seconds`; None
        when the server that knows it is gone."""
        with self._lock:
            if self._control is None or self._owner != os.getpid():
                return None
            try:
                self._control.send({"do": "reap", "pid": pid, "seconds": seconds})
                reply = self._control.receive(seconds=seconds + END_SECONDS)
            except OSError:
                return None
            return None if reply is None else int(reply["status"])

    def close(self) -> None:
        """End the server; logs stay where there was an error."""
        with self._lock:
            if self._owner != os.getpid():  # a fork of ours: the server is the parent's
                return
            self._stop()
            if self._folder is not None and not self._keep_logs:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def _logs(self) -> Path:
        if self._folder is None:
            name = self.module.rpartition(".")[2]
            self._folder = Path(tempfile.mkdtemp(prefix=f"unimm-eval-{name}-"))
        return self._folder

    @property
    def _server_log(self) -> Path:
        return self._logs / "server.log"

    def _started(self) -> Channel:
        """The connection to the server, started if it does not run."""
        if self._owner != os.getpid():  # a fork of ours gets a server of its own
            self._process = self._control = self._folder = None
            self._owner = os.getpid()
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._stop()
        ours, theirs = socket.socketpair()
        with theirs, self._server_log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "unimm_eval.tasks.child"),
                    *(self.module, str(theirs.fileno())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": _python_path()},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        self._control = Channel(ours)
        try:
            reply = self._control.receive(seconds=self._import_seconds)
        except TimeoutError as error:
            self._stop(seconds=0)
            raise self.error(
                "Hung", f"not imported after {self._import_seconds:g} s", self._server_log
            ) from error
        except BaseException:
            self._stop(seconds=0)
            raise
        if reply is None or "error" in reply:
            self._stop()
            found = (reply or {}).get("error", {"kind": "Died", "what": "while it was imported"})
            raise self.error(found["kind"], found["what"], self._server_log)
        self._name = reply["name"]
        return self._control

    def _stop(self, *, seconds: float = END_SECONDS) -> None:
        """End the server, which is killed if it does not end by itself within `seconds`."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._control = None


class Session:
    """One process of a library. Use as a context manager; one thread at a time."""

    def __init__(self, library: Library, channel: Channel, *, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self._library = library
        self._channel: Channel | None = channel
        self._calls = 0

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, name: str, /, *, seconds: float = CALL_SECONDS, **arguments: Any) -> Any:
        """What the session's method `name` returns, as JSON gives it back.

        Raises UserError where it did, LibraryError for any other error there, for a process that
        died and for one that does not answer in `seconds`.
        """
        self._send(name, arguments)
        return self._reply(name, seconds)["result"]

    def stream(
        self, name: str, *, seconds: float = CALL_SECONDS, **arguments: Any
    ) -> Iterator[Any]:
        """What the session's generator `name` yields; raises as `call` does. One that is left
        half-way is done with at the next call."""
        self._send(name, arguments)
        number = self._calls
        while number == self._calls and "end" not in (reply := self._reply(name, seconds)):
            yield reply["item"]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._library.reap(self.pid, seconds=END_SECONDS)

    def _send(self, name: str, arguments: dict[str, Any]) -> None:
        if self._channel is None:
            raise ValueError("the session is closed")
        self._calls += 1
        try:
            self._channel.send({"number": self._calls, "name": name, "arguments": arguments})
        except OSError as error:
            raise self._died(name) from error

    def _reply(self, name: str, seconds: float) -> dict[str, Any]:
        """The next message about the last call."""
        reply: dict[str, Any] | None = {"number": 0}
        while reply is not None and reply["number"] != self._calls:
            if self._channel is None:
                raise ValueError("the session is closed")
            try:
                reply = self._channel.receive(seconds=seconds)
            except TimeoutError as error:
                self.close()
                raise self._library.error(
                    "Hung", f"no answer to {name} in {seconds:g} s", self.log
                ) from error
        if reply is None:
            raise self._died(name)
        if "error" in reply:
            found = reply["error"]
            if found["kind"] in _OURS:
                ours: type[UserError] = getattr(api, found["kind"])
                raise ours(found["what"], fix=found["fix"])
            raise self._library.error(found["kind"], found["what"], self.log)
        return reply

    def _died(self, name: str) -> LibraryError:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        status = self._library.reap(self.pid, seconds=END_SECONDS)
        how = "its process ended"
        if status is not None and os.WIFSIGNALED(status):
            how = f"its process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return self._library.error("Died", f"{how} during {name}", self.log)


def library(module: str) -> Library:
    """The server of `module`, one for this process. It runs from the first session on."""
    with _libraries_lock:
        if module not in _libraries:
            _libraries[module] = Library(module)
            atexit.register(_libraries[module].close)
        return _libraries[module]


def _python_path() -> str:
    """Where a child finds us and what PYTHONPATH names; never the current folder, in which a
    `datasets` would hide the library of that name."""
    root = str(Path(api.__file__).parents[2])
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([root, *(os.path.abspath(part) for part in named if part)])


def _tail(log: Path) -> str:
    """The last lines of a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_CHARACTERS))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-_TAIL_LINES:])
