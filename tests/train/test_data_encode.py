"""Latents that were encoded once are those that are encoded anew, in the same documents."""

import errno
import shutil

import numpy as np
import pytest
import torch
import yaml
from data_kit import data_recipe, open_rows, write_jsonl, write_picture
from test_data_pictures import write_video
from test_data_rows import digest

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.cli import train as cli
from unimm_eval.cli.program import run_program
from unimm_eval.train.data import latents
from unimm_eval.train.data.encode import Encoding, encode_sources

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A source of pictures, two of them bad, and one of videos."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(7):
        write_picture(folder / f"{i}.png", seed=i)
    (folder / "3.png").write_bytes(b"no picture")
    rows = [{"image": f"{i}.png", "caption": f"number {i}"} for i in range(8)]
    rows[5:5] = ["{"]
    write_jsonl(folder / "pairs.jsonl", rows)
    for name in "ab":
        write_video(folder / "videos" / f"{name}.mp4", seconds=5)
    return folder


def sources(data):
    return {
        "pairs": {"kind": "captions", "path": str(data / "pairs.jsonl"), "direction": "both"},
        "film": {"kind": "video", "path": str(data / "videos")},
    }


def recipe_of(data, **changes):
    return data_recipe(sources(data), max_bad_records=0.5, **changes)


@pytest.fixture(scope="module")
def encoded(data):
    folder = data / "latents"
    assert encode_sources(Encoding(recipe=recipe_of(data), output=folder, device=CPU)) == 18
    return folder


def read(rows):
    found = [rows.read(k) for k in range(40)]
    return [digest(row.documents) for row in found], [row.skips for row in found]


def test_cached_and_uncached_rows_are_the_same(data, encoded):
    cached = open_rows(
        data / "one", sources(data), max_bad_records=0.5, latents=str(encoded), length=100
    )
    anew = open_rows(data / "two", sources(data), max_bad_records=0.5, length=100)

    def never(*_):
        raise AssertionError("a picture was encoded anew")

    cached.world.pictures.latents = never
    rows, skips = read(cached)
    assert (rows, [len(one) for one in skips]) == (
        read(anew)[0],
        [len(one) for one in read(anew)[1]],
    )
    assert any(skips)
    told = (encoded / "skipped.jsonl").read_text()
    assert told.count("\n") == 2
    assert "pairs.jsonl:4" in told


def test_a_stopped_encoding_goes_on_behind_the_last_whole_shard(
    data, encoded, tmp_path, monkeypatch
):
    monkeypatch.setattr(latents, "SHARD_BYTES", 4 * 16 * 192 * 4)  # four pictures a shard
    recipe, whole = recipe_of(data), tmp_path / "whole"
    job = Encoding(recipe=recipe, output=whole, device=CPU)
    encode_sources(job)
    assert encode_sources(job) == 0

    class Killed(BaseException):
        pass

    def kill(said):
        if said.startswith("pairs: 8"):
            raise Killed

    stopped = Encoding(recipe=recipe, output=tmp_path / "stopped", device=CPU)
    with pytest.raises(Killed):
        encode_sources(stopped, watch=kill)
    assert encode_sources(stopped) == 10
    for part in (0, 1, 2):
        encode_sources(
            Encoding(recipe=recipe, output=tmp_path / "parts", device=CPU, part=part, parts=3)
        )
    for other in ("stopped", "parts"):
        files = sorted(path.relative_to(whole) for path in whole.rglob("latents-*.npy"))
        assert len(files) == 2 + 3
        for file in files:
            np.testing.assert_array_equal(np.load(whole / file), np.load(tmp_path / other / file))


def test_latents_of_something_else_are_not_used(data, encoded, tmp_path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("latents", "one", "two"))
    with open(tmp_path / "data" / "pairs.jsonl", "a", encoding="utf-8") as file:
        file.write('{"image": "0.png", "caption": "one more"}\n')
    with pytest.raises(UserError, match=r"(?s)sources\.pairs.*not there.*unimm-train encode"):
        open_rows(
            tmp_path / "run", sources(tmp_path / "data"), max_bad_records=0.5, latents=str(encoded)
        )


def test_too_small_a_disk_is_told_before_work_begins(data, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"the latents take 0\.0 GB"):
        encode_sources(Encoding(recipe=recipe_of(data), output=tmp_path, device=CPU))
    assert not list(tmp_path.rglob("latents-*"))


def test_the_program_encodes_and_refuses_in_one_message(data, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["unimm-train", "encode", *map(str, arguments)])
        code = run_program(cli.app)
        return code, capsys.readouterr()

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe_of(data).model_dump(mode="json", exclude_none=True)))
    code, told = run(path, "--output", tmp_path / "out", "--device", "cpu")
    assert (code, "18 pictures encoded" in told.out) == (0, True)
    for arguments, said in (
        ((path, "--output", tmp_path / "x", "--part", "2"), "--part 2"),
        ((path, "--output", tmp_path / "x", "--part", "2/2", "--device", "cpu"), "part 2 of 2"),
        ((tmp_path / "none.yaml", "--output", tmp_path / "x"), "none.yaml"),
    ):
        code, told = run(*arguments)
        assert code == 2
        assert said in told.err


def test_a_disk_that_fills_up_all_the_same_leaves_whole_shards(data, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "SHARD_BYTES", 4 * 16 * 192 * 4)
    job = Encoding(recipe=recipe_of(data), output=tmp_path / "out", device=CPU)
    save, saved = np.save, []

    def full(file, array):
        saved.extend([file] * (array.ndim == 3))
        if len(saved) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(IncompleteError, match="is it full"):
        encode_sources(job)
    monkeypatch.setattr(np, "save", save)
    assert 0 < encode_sources(job) < 18
    for path in (tmp_path / "out").rglob("latents-*.npy"):
        assert np.load(path).any()
