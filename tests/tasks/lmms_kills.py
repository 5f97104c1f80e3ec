"""A run that is killed again and again: `lmms_kills.py ROWS FOLDER TASKS KILLS` prints a report.

lmms-eval is imported once, here; every attempt is a fork of this process that ends by SIGKILL at
some line that the engine executes. Sessions with lmms-eval are forks of the attempt, with nothing
between them and the code that otherwise runs in the children of a server.
"""

import json
import os
import random
import signal
import socket
import sqlite3
import sys
import traceback
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tasks"), str(ROOT / "tests" / "faults")]

from kill_child import Executioner  # noqa: E402
from official_rows.model import Answers, settings_for  # noqa: E402

from unimm_eval import evaluate  # noqa: E402
from unimm_eval.tasks.child.channel import Channel  # noqa: E402
from unimm_eval.tasks.child.parent import LibraryError, Session  # noqa: E402
from unimm_eval.tasks.child.server import _answer_calls  # noqa: E402
from unimm_eval.tasks.lmms import child, server  # noqa: E402

BATCH = 5


class Here:
    """Sessions as forks of this process."""

    def session(self):
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            sys.settrace(None)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.closerange(3, theirs.fileno())  # above all the store: its lock is not ours to hold
            os.closerange(theirs.fileno() + 1, 1024)
            _answer_calls(server.Session, Channel(theirs))
        theirs.close()
        return Session(self, Channel(ours), pid=pid, log=Path(os.devnull))

    def reap(self, pid, *, seconds):
        return os.waitpid(pid, 0)[1]

    def error(self, kind, what, log):
        return LibraryError("lmms-eval", kind=kind, what=what, log=log)


def attempt(rows, folder, tasks, *, line, log):
    """(wait status, lines the engine executed) of a fork that runs all of it, or to `line`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            executioner = Executioner(line)
            sys.settrace(executioner.on_call)
            evaluate(
                Answers(log=log),
                tasks,
                batch_size=BATCH,
                output=folder,
                settings=chosen(rows, tasks),
            )
            sys.settrace(None)
            os.write(writing, str(executioner.seen).encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        seen = pipe.read()
    return os.waitpid(pid, 0)[1], int(seen or 0)


def chosen(rows, tasks):
    return {name: values for name, values in settings_for(rows).items() if name in tasks}


def stored(folder):
    if not (folder / "store.sqlite").exists():
        return set()
    with closing(sqlite3.connect(folder / "store.sqlite", timeout=60)) as connection:
        tables = {row[0] for row in connection.execute("select name from sqlite_master")}
        if "outputs" not in tables:
            return set()
        return {row[0] for row in connection.execute("select sample from outputs")}


def record_of(folder):
    record = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in record.items() if key not in ("volatile", "digest")}


def main():
    rows, folder, tasks, kills = sys.argv[1:]
    rows, folder, tasks = Path(rows), Path(folder), tasks.split(",")
    child.library = lambda module: Here()
    random_lines = random.Random(5)
    status, lines = attempt(rows, folder / "whole", tasks, line=0, log=folder / "whole.log")
    assert status == 0
    expected = record_of(folder / "whole")
    status, overhead = attempt(rows, folder / "whole", tasks, line=0, log=folder / "again.log")
    assert status == 0
    report = {"asked_when_done": (folder / "again.log").exists(), "asked_again": 0, "lost": []}
    log, killed = folder / "run.log", 0
    while killed < int(kills):
        before = stored(folder / "run")
        log.write_text("")
        line = random_lines.randint(1, overhead + (lines - overhead) // 4)
        status, _ = attempt(rows, folder / "run", tasks, line=line, log=log)
        asked = set(log.read_text().split())
        report["asked_again"] += len(asked & before)
        report["lost"].append(len(asked - stored(folder / "run")))
        if status == 0:
            assert record_of(folder / "run") == expected
            for path in sorted((folder / "run").rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
            continue
        assert status == signal.SIGKILL, status
        killed += 1
    status, _ = attempt(rows, folder / "run", tasks, line=0, log=log)
    report |= {"status": status, "equal": record_of(folder / "run") == expected, "kills": killed}
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
