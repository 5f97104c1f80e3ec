"""Fetching through a real socket: whole, in pieces, wrong, and not at all."""

import hashlib

import pytest
from data_server import Files, serving

from unimm_eval.api import UserError
from unimm_eval.data import DataFile, fetch, verify

DATA = bytes(range(256)) * 4000  # about 1 MB


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serving(Files({"/a.json": DATA, "/b.json": b"[]"})) as state:
        yield state


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def pinned(server, data=DATA, **change):
    values = {
        "name": "bench/a.json",
        "url": f"{server.url}/a.json",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }
    return DataFile(**{**values, **change})


def quiet(file, done, total):
    pass


def test_a_file_comes_whole_and_is_not_fetched_twice(server, tmp_path):
    seen = []
    file = pinned(server)
    (path,) = fetch([file], tmp_path, watch=lambda _, done, total: seen.append((done, total)))
    assert path == tmp_path / "bench" / "a.json" == verify(file, tmp_path)
    assert path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    fetch([file], tmp_path, watch=quiet)
    assert len(server.ranges) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_dropped_connection_goes_on_where_it_stopped(server, tmp_path):
    server.ways = ["drop:600000", "503", "whole"]
    (path,) = fetch([pinned(server)], tmp_path, watch=quiet)
    assert path.read_bytes() == DATA
    assert server.ranges == [None, "bytes=600000-", "bytes=600000-"]


def test_an_interrupted_fetch_is_gone_on_with_by_the_next_command(server, tmp_path):
    server.ways = ["drop:1000"] * 3
    with pytest.raises(UserError, match="could not be fetched"):
        fetch([pinned(server)], tmp_path, watch=quiet)
    assert not (tmp_path / "bench" / "a.json").exists()
    fetch([pinned(server)], tmp_path, watch=quiet)
    assert server.ranges[-1] == "bytes=3000-"
    verify(pinned(server), tmp_path)


def test_a_server_without_ranges_begins_anew(server, tmp_path):
    server.ways = ["drop:1000", "norange"]
    (path,) = fetch([pinned(server)], tmp_path, watch=quiet)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("served", "says"),
    [
        (DATA[:-1], "1,023,999 bytes came instead of 1,024,000"),
        (DATA[:-1] + b"x", "what came has SHA-256"),
        (DATA + b"x", "more than the 1,024,000 bytes"),
    ],
)
def test_a_truncated_or_altered_file_never_takes_its_place(server, tmp_path, served, says):
    file = pinned(server)
    server.files["/a.json"] = served
    with pytest.raises(UserError, match=says) as caught:
        fetch([file], tmp_path, watch=quiet)
    assert str(tmp_path / "bench" / "a.json") in caught.value.what
    assert not (tmp_path / "bench" / "a.json").exists()
    server.files["/a.json"] = DATA
    fetch([file], tmp_path, watch=quiet)
    verify(file, tmp_path)


def test_what_is_not_there_is_told_with_its_place_and_hash_and_the_rest_comes(server, tmp_path):
    gone = pinned(server, url=f"{server.url}/gone.json", name="bench/gone.json")
    there = pinned(server, b"[]", url=f"{server.url}/b.json", name="bench/b.json")
    with pytest.raises(UserError, match=r"1 of 2 files .*\n.*404") as caught:
        fetch([gone, there], tmp_path, watch=quiet)
    assert f"{tmp_path}/bench/gone.json (SHA-256 {gone.sha256})" in caught.value.what
    assert (tmp_path / "bench" / "b.json").read_bytes() == b"[]"


def test_without_a_network_there_is_one_message(tmp_path):
    with serving(Files({})) as server:
        file = pinned(server)
    with pytest.raises(UserError, match="ConnectError") as caught:  # nobody listens there any more
        fetch([file, pinned(server, name="bench/c.json")], tmp_path, watch=quiet)
    assert caught.value.what.count("SHA-256") == 2
    assert "--data-dir" in caught.value.fix


def test_a_wrong_file_of_the_user_is_left_as_it_is(server, tmp_path):
    path = tmp_path / "bench" / "a.json"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="remove it first"):
        fetch([pinned(server)], tmp_path, watch=quiet)
    assert path.read_bytes() == b"mine"


def test_gits_id_pins_content_too(server, tmp_path):
    file = pinned(server, sha256=None, size=None, git_blob=git_blob(DATA))
    fetch([file], tmp_path, watch=quiet)
    verify(file, tmp_path)
    other = pinned(server, sha256=None, size=None, git_blob=git_blob(b"other"))
    with pytest.raises(UserError, match="is git blob"):
        verify(other, tmp_path)


def test_without_a_pin_the_first_fetch_is_trusted_and_remembered(server, tmp_path):
    file = pinned(server, sha256=None, size=None)
    assert "first fetch" in file.pin
    (path,) = fetch([file], tmp_path, watch=quiet)
    record = tmp_path / "bench" / "a.json.sha256"
    assert record.read_text() == f"{hashlib.sha256(DATA).hexdigest()}  a.json\n"
    path.unlink()
    server.files["/a.json"] = b"something else"
    with pytest.raises(UserError, match="what came has SHA-256"):
        fetch([file], tmp_path, watch=quiet)
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="instead of"):
        verify(file, tmp_path)


def test_without_a_pin_the_etag_says_whether_to_go_on(server, tmp_path):
    file = pinned(server, sha256=None, size=None)
    server.ways = ["drop:1000"]
    fetch([file], tmp_path / "none", watch=quiet)
    assert server.ranges == [None, None]  # nothing says that it is the same file
    server.etags, server.ranges, server.ways = True, [], ["drop:1000", "drop:1000", "drop:1000"]
    with pytest.raises(UserError, match="could not be fetched"):
        fetch([file], tmp_path / "same", watch=quiet)
    (path,) = fetch([file], tmp_path / "same", watch=quiet)
    assert server.ranges == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert path.read_bytes() == DATA
    assert {entry.name for entry in path.parent.iterdir()} == {"a.json", "a.json.sha256"}
    server.ways = ["drop:1000"] * 3
    with pytest.raises(UserError, match="could not be fetched"):
        fetch([file], tmp_path / "other", watch=quiet)
    server.files["/a.json"] = DATA[::-1]
    (path,) = fetch([file], tmp_path / "other", watch=quiet)
    assert path.read_bytes() == DATA[::-1]
