"""The side that has the library: import it once, then fork a fresh child for each session.

The server itself calls nothing of the library, so every child starts from its state right after the
import: graders that count in module globals start clean, and one that dies takes nothing with it.
"""

import importlib
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.tasks.child.channel import Channel

_POLL_SECONDS = 0.01
_WATCH_SECONDS = 0.5


def serve(module: str, connection: socket.socket) -> None:
    """Serve sessions of `module`'s class `Session` until the other side is gone."""
    control = Channel(connection)
    try:
        with _ending_with(connection):
            found = importlib.import_module(module)
            make = found.Session
    except BaseException as error:  # also what a library raises to end the program
        traceback.print_exc()
        control.send({"error": _described(error)})
        raise SystemExit(1) from error
    control.send({"name": getattr(found, "NAME", module)})
    while (message := control.receive()) is not None:
        if message["do"] == "open":
            _, (descriptor,), _, _ = socket.recv_fds(connection, 1, 1)
            control.send({"pid": _fork(make, control, descriptor, log=message["log"])})
        else:
            control.send({"status": _reap(message["pid"], seconds=message["seconds"])})


@contextmanager
def _ending_with(connection: socket.socket) -> Iterator[None]:
    """End this process when the other side goes away meanwhile. The thread that watches is gone
    afterwards: a process with threads is not safe to fork."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_SECONDS):
            with suppress(BlockingIOError):
                if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    os._exit(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _fork(make: Callable[[], Any], control: Channel, descriptor: int, *, log: str) -> int:
    """Start a session on the socket `descriptor`; its process."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(descriptor)
        return pid
    try:
        control.close()
        _write_to(log)
        _answer_calls(make, Channel(socket.socket(fileno=descriptor)))
    finally:
        os._exit(1)  # never back into the server's loop, nor through its exit handlers


def _reap(pid: int, *, seconds: float) -> int:
    """The wait status of a child, which is killed when it does not end within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # a child of a server before this one
            return 0
        if found:
            return status
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        time.sleep(_POLL_SECONDS)


def _write_to(log: str) -> None:
    """Send whatever the library prints, from Python or not, to the session's log."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _answer_calls(make: Callable[[], Any], channel: Channel) -> None:
    calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_calls, args=(channel, calls), daemon=True).start()
    session: Any = None
    while True:
        message = calls.get()
        number = message["number"]
        try:
            if session is None:
                session = make()
            result = getattr(session, message["name"])(**message["arguments"])
            if isinstance(result, Iterator):
                for item in result:
                    channel.send({"number": number, "item": item})
                channel.send({"number": number, "end": True})
            else:
                channel.send({"number": number, "result": result})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - told to the parent, whole in the log
            traceback.print_exc()
            sys.stderr.flush()
            channel.send({"number": number, "error": _described(error)})
        sys.stdout.flush()


def _read_calls(channel: Channel, calls: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Queue calls; when the parent is gone, end at once, whatever the library is doing."""
    while (message := channel.receive()) is not None:
        calls.put(message)
    os._exit(0)


def _described(error: BaseException) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"kind": type(error).__name__, "what": error.what, "fix": error.fix}
    return {"kind": type(error).__name__, "what": str(error), "fix": ""}
