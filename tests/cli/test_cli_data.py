"""`unimm-eval data`: a plug-in's card lists two files of a server on loopback."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Program, is_one_message
from data_server import Files, serving

from unimm_eval.cli import data as commands
from unimm_eval.engine.registry import task_entries


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, plugin: Path) -> Iterator[Files]:
    """The server; the card of the task `echo` lists its files."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    contents = {"/one.json": b'{"a": 1}', "/two.txt": b"two"}
    with serving(Files(contents)) as server:
        rows = [
            {
                "name": f"echo{path}",
                "url": server.url + path,
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "licence": "MIT",
            }
            for path, content in contents.items()
        ]
        entries = task_entries()
        echo = entries["echo"]
        card = echo.card.model_copy(update={"data": {"files": rows}})
        changed = {"echo": type(echo)(card=card, package=echo.package, folder=echo.folder)}
        monkeypatch.setattr(commands, "task_entries", lambda: {**entries, **changed})
        yield server


def test_status_fetch_verify(program: Program, files: Files, tmp_path: Path) -> None:
    where = ("echo", "--data-dir", str(tmp_path / "files"))
    before = program("data", "status", *where)
    assert before.code == 0
    assert before.out.count("missing") == 2
    assert "MIT" in before.out
    missing = program("data", "verify", *where)
    assert missing.code == 2
    assert is_one_message(missing)
    assert "unimm-eval data fetch echo" in missing.err
    fetched = program("data", "fetch", *where)
    assert fetched.code == 0
    assert "echo/one.json  8 bytes" in fetched.err
    assert program("data", "verify", *where).code == 0
    assert "missing" not in program("data", "status", *where).out
    (tmp_path / "files" / "echo" / "two.txt").write_bytes(b"six")
    altered = program("data", "verify", *where)
    assert altered.code == 2
    assert "has SHA-256" in altered.err
    assert "1 are as pinned" in altered.err


def test_a_machine_without_network_gets_one_message(
    program: Program, files: Files, tmp_path: Path
) -> None:
    files.files.clear()
    ended = program("data", "fetch", "echo", "--data-dir", str(tmp_path / "files"))
    assert ended.code == 2
    assert is_one_message(ended)
    assert f"{tmp_path}/files/echo/one.json (SHA-256 " in ended.err


def test_an_unknown_task_is_named(program: Program) -> None:
    ended = program("data", "fetch", "genevall")
    assert ended.code == 2
    assert "did you mean geneval" in ended.err


def test_judging_again_needs_a_run_that_a_model_judged(program: Program) -> None:
    assert program("--model", "fake", "--tasks", "colours:mini", "--output", "run").code == 0
    ended = program("judge", "run", "--judge", "openai:m@http://127.0.0.1:9/v1")
    assert ended.code == 2
    assert is_one_message(ended)
    assert "judged by a model: colours:mini" in ended.err
    assert program("judge", "nowhere").code == 2


def test_judges_are_listed(program: Program) -> None:
    assert "--set TASK.judge=openai:" in program("models").out
