"""Benchmark files and text of the user."""

import hashlib

import pytest

from unimm_eval.api import UserError
from unimm_eval.data import DataFile, data_dir, read_text, sha256_file, verify


def test_where_the_data_is(monkeypatch, tmp_path):
    monkeypatch.delenv("UNIMM_EVAL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    assert data_dir() == tmp_path / "cache" / "unimm-eval"
    monkeypatch.setenv("UNIMM_EVAL_DATA", str(tmp_path / "named"))
    assert data_dir() == tmp_path / "named"
    assert data_dir(tmp_path / "given") == tmp_path / "given"


def test_a_pinned_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(b"a red square")
    digest = hashlib.sha256(b"a red square").hexdigest()
    pinned = DataFile(name="prompts.txt", url="https://example.org/p", sha256=digest, size=12)
    assert sha256_file(path) == digest
    assert verify(pinned, tmp_path) == path
    path.write_bytes(b"a red circle")
    with pytest.raises(UserError, match="has SHA-256"):
        verify(pinned, tmp_path)
    path.write_bytes(b"a red")
    with pytest.raises(UserError, match="has 5 bytes instead of 12"):
        verify(pinned, tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="is missing") as caught:
        verify(pinned, tmp_path)
    assert "https://example.org/p" in caught.value.fix


def test_text_is_read_exactly(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("é\r\nb\n".encode())
    assert read_text(path) == "é\r\nb\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b" \n", "is empty"), (b"ab\xff", "not UTF-8: byte 2 is 0xff")],
)
def test_text_that_is_none(tmp_path, data, message):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_text(path)
    assert str(path) in str(caught.value)


def test_text_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_text(tmp_path / "no.txt")
    with pytest.raises(UserError, match="cannot be read"):
        sha256_file(tmp_path)
