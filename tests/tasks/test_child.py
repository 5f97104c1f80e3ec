"""Libraries in processes of their own: fresh each session, named errors, nothing left behind."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unimm_eval.api import IncompleteError
from unimm_eval.tasks.child import Library, LibraryError, library

MODULES = Path(__file__).parent / "child_modules"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MODULES))
        patch.setenv("HF_HUB_OFFLINE", "1")
        made = Library("child_counting")
        made.session().close()  # the environment is that of the start
        yield made
        made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_every_session_starts_clean_and_keeps_its_state(server):
    with server.session() as first, server.session() as second:
        assert [first.call("count"), first.call("count"), second.call("count")] == [1, 2, 1]
        assert first.call("pid") != second.call("pid")
    assert json.loads.__module__ != "patched"


@pytest.mark.parametrize(
    "value", [None, "ünï\ud800\n", 0.1 + 0.2, -0.0, 2**80, [[], {"a": [1.5e-300]}], "x" * 3_000_000]
)
def test_what_is_sent_arrives_to_the_last_digit(server, value):
    with server.session() as child:
        assert child.call("echo", value=value) == value
        assert math.isnan(child.call("echo", value=math.nan))


def test_numpy_arrives_as_plain_numbers(server):
    with server.session() as child:
        found = child.call("arrays")
    assert found == {"f32": 0.10000000149011612, "rows": [0, 1, 2], "pair": [1, math.inf]}


def test_a_stream_may_be_left_half_way(server):
    with server.session() as child:
        stream = child.stream("rows", count=5000)
        assert [next(stream), next(stream)] == [{"row": 0}, {"row": 1}]
        assert child.call("count") == 1
        assert len(list(child.stream("rows", count=7))) == 7
        assert list(stream) == []


def test_an_exception_there_is_one_error_here_and_the_session_goes_on(server):
    with server.session() as child:
        with pytest.raises(LibraryError, match=r"counting: KeyError: 'missing'") as raised:
            child.call("fail")
        assert raised.value.kind == "KeyError"
        text = raised.value.log.read_text()
        assert "about to fail" in text
        assert "Traceback" in text
        with pytest.raises(LibraryError, match="SystemExit: enough"):
            child.call("leave")
        with pytest.raises(LibraryError, match="cannot be sent"):
            child.call("not_json")
        with pytest.raises(LibraryError, match="AttributeError"):
            child.call("no_such_method")
        with pytest.raises(IncompleteError, match="the judge is down\nstart it"):
            child.call("refuse")
        assert child.call("count") == 1


def test_a_killed_child_takes_nothing_with_it(server):
    with server.session() as other, server.session() as child:
        with pytest.raises(LibraryError, match=r"(?s)killed by SIGKILL during die.*printed by C"):
            child.call("die")
        with pytest.raises(ValueError, match="closed"):
            child.call("count")
        assert other.call("count") == 1


def test_a_call_that_hangs_ends_at_its_deadline(server):
    with server.session() as child:
        with pytest.raises(LibraryError, match="Hung: no answer to hang in"):
            child.call("hang", seconds=0.2)
        assert gone(child.pid)


def test_a_server_that_was_killed_is_started_again(server):
    with server.session() as child:
        os.kill(server._process.pid, signal.SIGKILL)
        assert gone(server._process.pid) or server._process.poll() is not None
        assert child.call("count") == 1  # what is running runs on
    with server.session() as child:
        assert child.call("count") == 1


def test_the_environment_reaches_the_library(server):
    with server.session() as child:
        assert child.call("environment", name="HF_HUB_OFFLINE") == "1"


def test_imports_that_fail_or_hang_are_named(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(MODULES))
    with pytest.raises(LibraryError, match="ModuleNotFoundError: No module named 'no_such"):
        Library("child_broken").session()
    hanging = Library("child_hanging", import_seconds=1.0)
    with pytest.raises(LibraryError, match="Hung: not imported after 1 s"):
        hanging.session()


def test_when_we_die_so_does_everything(monkeypatch):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(MODULES)])}
    command = [sys.executable, str(MODULES / "child_orphan.py"), "child_counting"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        child = int(program.stdout.readline())
        (server,) = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
        program.kill()
    assert gone(child)
    assert gone(int(server))


def test_a_module_has_one_server_a_process():
    assert library("child_counting") is library("child_counting")
