"""Texts of every kind of file become rows in which no token is lost or doubled."""

import gzip
import json

import datasets
import numpy as np
import pandas as pd
import pytest
from data_kit import WORDS, open_rows, write_jsonl

from unimm_eval.api import UserError
from unimm_eval.train.data import texts

TEXTS = [f"the ring number {i} is red" + " and round" * (i % 7) for i in range(60)]


def text_rows(folder, spec, **changes):
    return open_rows(folder / "run", {"web": {"kind": "text", **spec}}, **changes)


def tokens_of(rows):
    """All tokens of an epoch in the order of the files."""
    source = rows.sources["web"]
    found = [source.documents(r, np.random.default_rng(0), None)[0] for r in range(source.rows)]
    return [i for documents in found for document in documents for i in document[0].ids]


EXPECTED = [i for text in TEXTS for i in (WORDS.bos, *WORDS.encode(text), WORDS.eos)]


def write_jsonl_texts(folder):
    return write_jsonl(folder / "a.jsonl", [{"text": text} for text in TEXTS])


def write_gzip(folder):
    folder.mkdir(parents=True)
    with gzip.open(folder / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps({"text": text}) + "\n\n" for text in TEXTS))
    return folder


def write_zstd(folder):
    import pyarrow as pa

    folder.mkdir(parents=True)
    with pa.output_stream(folder / "a.jsonl.zst", compression="zstd") as file:
        file.write("".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode())
    return folder


def write_parquet(folder):
    folder.mkdir(parents=True)
    for part in (0, 1):
        frame = pd.DataFrame({"text": TEXTS[30 * part : 30 * part + 30], "other": 1})
        frame.to_parquet(folder / f"{part}.parquet")
    return folder / "*.parquet"


def write_saved(folder):
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize(
    "write", [write_jsonl_texts, write_gzip, write_zstd, write_parquet, write_saved]
)
def test_every_token_of_every_file_is_in_one_row(tmp_path, write):
    path = write(tmp_path / "data")
    rows = text_rows(tmp_path, {"path": str(path)}, length=50)
    assert tokens_of(rows) == EXPECTED
    source = rows.sources["web"]
    assert source.rows == -(-len(EXPECTED) // 50)
    lengths = [
        sum(len(part.ids) for document in rows.row(k) for part in document)
        for k in range(source.rows)
    ]
    assert sorted(lengths)[1:] == [50] * (source.rows - 1)  # but for the end of the epoch


def test_a_data_set_of_the_hub_is_read_at_its_commit(tmp_path, monkeypatch):
    asked = {}

    def load_dataset(name, subset, **options):
        asked.update(name=name, subset=subset, **options)
        return datasets.Dataset.from_dict({"body": TEXTS}).to_iterable_dataset(num_shards=3)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    spec = {"dataset": "org/web", "revision": "0" * 40, "subset": "en", "field": "body"}
    rows = text_rows(tmp_path, spec)
    assert tokens_of(rows) == EXPECTED
    assert asked == {
        "name": "org/web",
        "subset": "en",
        "revision": "0" * 40,
        "split": "train",
        "streaming": True,
    }


def test_texts_are_tokenised_once_and_added_ones_alone_later(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "data" / "a.jsonl", [{"text": text} for text in TEXTS[:30]])
    spec = {"path": str(tmp_path / "data"), "field": "text"}
    cache = str(tmp_path / "cache")
    text_rows(tmp_path, spec, cache=cache)
    write_jsonl(tmp_path / "data" / "b.jsonl", [{"text": text} for text in TEXTS[30:]])
    read = []
    jsonl = texts._jsonl
    monkeypatch.setattr(texts, "_jsonl", lambda path: (read.append(path.name), jsonl(path))[1])
    rows = text_rows(tmp_path / "other", spec, cache=cache)
    assert read == ["b.jsonl"]
    assert tokens_of(rows) == EXPECTED


def test_bad_lines_are_left_out_and_named(tmp_path):
    lines = [{"text": text} for text in TEXTS]
    lines[3:3] = ["{", {"other": 1}, {"text": 3}, {"text": " \n"}, {"text": "\ud800"}]
    path = write_jsonl(tmp_path / "data" / "a.jsonl", lines)
    rows = text_rows(tmp_path, {"path": str(path)}, max_bad_records=0.1)
    assert tokens_of(rows) == EXPECTED
    reasons = {skip.place: skip.reason for skip in rows.sources["web"].skips}
    assert list(reasons) == [f"a.jsonl:{number}" for number in range(4, 9)]
    assert "not JSON" in reasons["a.jsonl:4"]
    assert reasons["a.jsonl:5"] == "has no text"
    assert "surrogate" in reasons["a.jsonl:8"]
    with pytest.raises(UserError, match=r"5 of 65 records"):
        text_rows(tmp_path, {"path": str(path)}, max_bad_records=0.05)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet", "a.jsonl.zst"])
def test_an_unreadable_shard_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8bPAR1 no such thing" * 10)
    with pytest.raises(UserError, match=name):
        text_rows(tmp_path, {"path": str(tmp_path / name)})


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"sources\.web.*no such file"):
        text_rows(tmp_path, {"path": str(tmp_path / "none-*.jsonl")})
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"sources\.web: there is nothing in it"):
        text_rows(tmp_path, {"path": str(tmp_path / "a.jsonl")})
