"""Row k is the same however it is asked for; shares hold; an epoch has everything once."""

import hashlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from data_kit import WORDS, data_recipe, open_rows, write_jsonl, write_picture
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recipe import DEMO
from torch.utils.data import DataLoader, Dataset

from unimm_eval.api import UserError
from unimm_eval.cli import train as cli
from unimm_eval.cli.program import run_program
from unimm_eval.model.sequence import PictureSegment, document_length
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.batches import shares
from unimm_eval.train.data.bad import SKIPPED, Skip, SkippedRecords
from unimm_eval.train.data.order import Order
from unimm_eval.train.data.packing import pack_frames, pack_whole
from unimm_eval.train.data.shares import Shares
from unimm_eval.train.data.sources import with_fingerprints
from unimm_eval.train.log import read_log
from unimm_eval.train.mixture import WorldMixture
from unimm_eval.train.pretrain import Pretraining
from unimm_eval.train.recipe import load_recipe, save_recipe
from unimm_eval.train.sourced import source_of

DEMO_TOKENIZER = Path(__file__).parents[2] / "model" / "demo" / "tokenizer.json"
DEMO_ROWS = {
    0: "926db900bcb25c6f3bc41ec18a0c56a6b802c4f7f8e5579a826c6de78f632e40",
    12345: "163384b9d5ec652aca79da7badd88b439b2c9ed44f12ddf7609f99bca8d34a95",
}
DEMO_IDENTITIES = {0: "e5dbea62941f0d19", 1: "88030b0d66daaba1", 23200: "5a7e52f75d28ef2f"}


def digest(documents):
    known = hashlib.sha256()
    for document in documents:
        for part in document:
            if isinstance(part, PictureSegment):
                known.update(repr((part.t, part.flow, part.understanding)).encode())
                known.update(part.latents.tobytes())
                known.update(b"" if part.noise is None else part.noise.tobytes())
            else:
                known.update(repr((list(part.ids), part.loss, part.weight)).encode())
    return known.hexdigest()


def test_rows_and_identity_of_the_demo_are_what_they_were():
    """A run that began before goes on with the same data, and finds its states."""
    recipe = load_recipe(DEMO)
    rows = WorldMixture(recipe, Tokenizer.load(DEMO_TOKENIZER))
    assert {k: digest(rows.row(k)) for k in DEMO_ROWS} == DEMO_ROWS
    assert {step: recipe.identity(step) for step in DEMO_IDENTITIES} == DEMO_IDENTITIES


proportions = st.lists(st.floats(1e-4, 1), min_size=1, max_size=6).map(
    lambda values: [value / sum(values) for value in values]
)


@given(proportions, st.integers(0, 2**40))
@settings(max_examples=50, deadline=None)
def test_rows_of_a_source_are_counted_without_looking_at_them(parts, start):
    given_ = Shares(parts, start=start)
    before = [0] * len(parts)
    for row in range(200):
        for source, count in enumerate(before):
            assert given_.before(row, source) == count
        before[given_.source(row)] += 1


@given(proportions, st.integers(0, 2**40), st.integers(10, 10**7), st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_shares_of_rows_hold_from_the_first_rows_on(parts, start, rows, ranks):
    """Within some log(rows) rows of them, and nearly so for each rank's part."""
    given_ = Shares(parts, start=start)
    for source, part in enumerate(parts):
        assert abs(given_.before(rows, source) - part * rows) <= 2 + np.log(rows)
    first = [given_.source(row) for row in range(0, 512 * ranks, ranks)]
    for source, part in enumerate(parts):
        assert abs(first.count(source) - 512 * part) <= 16


@given(st.integers(1, 500), st.integers(0, 2**31), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_an_epoch_has_each_row_once(rows, seed, epoch):
    order = Order(rows, seed=seed, source="a")
    seen = [order[epoch * rows + i] for i in range(rows)]
    assert sorted(seen) == list(range(rows))
    if rows > 20:
        assert seen != [order[(epoch + 1) * rows + i] for i in range(rows)]
        assert seen != [Order(rows, seed=seed, source="b")[epoch * rows + i] for i in range(rows)]


lengths = st.lists(st.integers(0, 50), min_size=1, max_size=80)


@given(lengths, st.integers(50, 120))
@settings(deadline=None)
def test_whole_documents_are_packed_once_and_fit(tokens, length):
    tokens = np.array(tokens)
    pieces, starts = pack_whole(tokens, np.ones_like(tokens), length=length)
    assert sorted(pieces["document"]) == np.flatnonzero(tokens).tolist()
    rows = [pieces[a:b] for a, b in pairwise(starts)]
    used = [int(tokens[row["document"]].sum()) for row in rows]
    assert all(0 < total <= length for total in used)
    assert not used or sum(sorted(used)[:2]) > length or len(used) == 1  # no two would be one


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(1, 9))
@settings(deadline=None)
def test_videos_are_cut_between_frames_and_fill_their_rows(counts, words):
    frame, length = 7, 40
    counts = np.array(counts)
    tokens = np.where(counts > 0, 1 + words + counts * frame, 0)
    pieces, starts = pack_frames(tokens, counts, length=length, frame=frame, again=1)
    seen = [(p["document"], i) for p in pieces for i in range(p["begin"], p["end"])]
    assert seen == [(d, i) for d in np.flatnonzero(counts) for i in range(counts[d])]
    for a, b in pairwise(starts):
        used = sum(
            (1 if p["begin"] else 1 + words) + (p["end"] - p["begin"]) * frame for p in pieces[a:b]
        )
        assert used <= length
        if b < len(pieces):
            before = 1 if pieces[b]["begin"] else 1 + words
            assert used + before + frame > length


SHARES = {"web": 0.5, "pairs": 0.25, "chat_data": 0.2, "chat": 0.05}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three sources with documents of different lengths, in a shared cache."""
    folder = tmp_path_factory.mktemp("data")
    texts = [{"text": f"number {i}" + " the ring is red" * (i % 40)} for i in range(50)]
    write_jsonl(folder / "web.jsonl", texts)
    for i in range(3):
        write_picture(folder / f"{i}.png", seed=i)
    pairs = [{"image": f"{i % 3}.png", "caption": f"ring {i}" * (1 + i % 5)} for i in range(25)]
    write_jsonl(folder / "pairs.jsonl", pairs)
    said = [{"from": "human", "value": "what is it"}, {"from": "gpt", "value": "a red ring"}]
    write_jsonl(folder / "chat.jsonl", [{"conversations": said * (1 + i % 3)} for i in range(40)])
    return folder


def sources(data):
    return {
        "web": {"kind": "text", "path": str(data / "web.jsonl")},
        "pairs": {"kind": "captions", "path": str(data / "pairs.jsonl"), "direction": "both"},
        "chat_data": {"kind": "conversations", "path": str(data / "chat.jsonl")},
    }


@pytest.fixture(scope="module")
def rows(data):
    return open_rows(data / "run", sources(data), SHARES, cache=str(data / "cache"))


class _Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, k):
        return digest(self.rows.row(k))


def test_row_k_does_not_depend_on_how_it_is_asked_for(data, rows):
    wanted = [digest(rows.row(k)) for k in range(60)]
    again = open_rows(data / "other", sources(data), SHARES, cache=str(data / "cache"))
    backwards = {k: digest(again.row(k)) for k in reversed(range(60))}
    assert [backwards[k] for k in range(60)] == wanted
    loader = DataLoader(
        _Rows(again),
        batch_size=None,
        num_workers=3,
        multiprocessing_context="fork",
        sampler=range(60),
    )
    assert list(loader) == wanted
    other = open_rows(data / "o", sources(data), SHARES, cache=str(data / "cache"), seed=1)
    assert [digest(other.row(k)) for k in range(60)] != wanted


def test_each_source_has_its_share_of_tokens(rows):
    tokens = Counter()
    for k in range(600):
        for document in rows.row(k):
            name = source_of(document)
            tokens["chat" if name not in rows.sources else name] += document_length(document)
    total = sum(tokens.values())
    for name, share in SHARES.items():
        assert abs(tokens[name] / total - share) < 0.01, tokens
    seen = rows.epochs(600)
    assert all(count > 2 for count in seen.values())


def test_later_stages_go_on_where_a_source_was(data):
    stages = (
        {"from_step": 0, "mixture": {"web": 0.5, "pairs": 0.5}},
        {"from_step": 3, "mixture": {"pairs": 1.0}},
        {"from_step": 5, "mixture": {"web": 0.7, "pairs": 0.3}},
    )
    rows = open_rows(data / "run", sources(data), cache=str(data / "cache"), stages=stages, rows=4)
    seen = {"web": [], "pairs": []}
    for name, source in rows.sources.items():
        documents = source.documents
        source.documents = lambda row, *rest, name=name, documents=documents: (
            seen[name].append(row),
            documents(row, *rest),
        )[1]
    for k in range(40):
        rows.row(k)
    for name, source in rows.sources.items():
        order = Order(source.rows, seed=rows.recipe.seed, source=name)
        assert seen[name] == [order[j] for j in range(len(seen[name]))]


class _Ranks:
    device = torch.device("cpu")

    def __init__(self, rank, size):
        self.rank, self.size, self.first = rank, size, rank == 0


def test_any_number_of_workers_and_ranks_trains_on_the_same_rows(data, tmp_path):
    """One process, three workers, and two ranks that go on at step 2 with a worker each."""
    recipe = data_recipe(sources(data), SHARES, cache=str(data / "cache"), rows=4)

    def batches(rank, size, steps, workers):
        ranks = _Ranks(rank, size)
        found = shares(recipe, WORDS, tmp_path, ranks, steps=steps, workers=workers)
        return {
            row: (share.batch.tokens_BS[i], share.batch.targets_BS[i], share.documents[i])
            for share in found
            for i, row in enumerate(share.rows)
        }

    alone = batches(0, 1, range(5), 0)
    ways = [
        batches(0, 1, range(5), 3),
        {
            **batches(0, 1, range(2), 1),
            **batches(0, 2, range(2, 5), 1),
            **batches(1, 2, range(2, 5), 2),
        },
    ]
    for way in ways:
        assert way.keys() == alone.keys() == set(range(20))
        for row, (tokens, targets, names) in alone.items():
            assert torch.equal(way[row][0], tokens)
            assert torch.equal(way[row][1], targets)
            assert way[row][2] == names


def test_the_content_of_sources_is_part_of_a_recipe_and_their_place_is_not(data, tmp_path):
    recipe = with_fingerprints(data_recipe(sources(data), SHARES))
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in data.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    moved = with_fingerprints(data_recipe(sources(copy), SHARES))
    assert moved.identity(1) == recipe.identity(1)
    save_recipe(tmp_path / "recipe.yaml", moved)
    assert load_recipe(tmp_path / "recipe.yaml").identity(1) == recipe.identity(1)
    with open(copy / "web.jsonl", "a", encoding="utf-8") as file:
        file.write('{"text": "more"}\n')
    changed = with_fingerprints(data_recipe(sources(copy), SHARES))
    assert changed.identity(1) != recipe.identity(1)
    assert changed.identity(0) == recipe.identity(0)
    with pytest.raises(UserError, match=r"sources\.web: its content is not what it was"):
        with_fingerprints(moved)


def test_what_was_left_out_is_logged_once_and_too_much_stops(tmp_path):
    def skips(*numbers):
        return [Skip(source="a", place=f"f:{n}", reason="bad") for n in numbers]

    log = SkippedRecords(tmp_path, share=0.01, sizes={"a": 5000, "b": 10})
    log.add(skips(1, 2))
    log.met(skips(2, 3, 3), documents={"a": 10})
    again = SkippedRecords(tmp_path, share=0.01, sizes={"a": 5000, "b": 10})
    again.met(skips(3, *range(10, 19)), documents={"a": 100})  # ten, let pass of a thousand
    assert len((tmp_path / SKIPPED).read_text().splitlines()) == 12  # 1, 2, 3 and nine more
    with pytest.raises(UserError, match=r"sources\.a: 11 of 1,000 records"):
        again.met(skips(30), documents={"a": 100})
    with pytest.raises(UserError, match=r"sources\.b: 1 of 10 records"):
        again.met([Skip(source="b", place="x", reason="bad")], documents={})


BAD = {
    "no source pears": {"stages": [{"from_step": 0, "mixture": {"pears": 1.0}}]},
    "sum to 0.9": {"stages": [{"from_step": 0, "mixture": {"web": 0.9}}]},
    "is a source of the world": {"sources": {"chat": {"kind": "text", "path": "a"}}},
    "sources.web.text.typo": {"sources": {"web": {"kind": "text", "path": "a", "typo": 1}}},
    "sources.web": {"sources": {"web": {"kind": "pictures", "path": "a"}}},
    "either path or dataset": {"sources": {"web": {"kind": "text"}}},
    "pinned by its commit": {"sources": {"web": {"kind": "text", "dataset": "a/b"}}},
    "revision": {"sources": {"web": {"kind": "text", "dataset": "a/b", "revision": "main"}}},
    "direction: both": {
        "sources": {"web": {"kind": "captions", "path": "a", "text_to_image_share": 0.3}}
    },
    "no data set 'mars'": {
        "sources": {"web": {"kind": "navigation", "path": "a", "dataset": "mars"}}
    },
}


@pytest.mark.parametrize("told", BAD)
def test_a_recipe_that_cannot_work_is_refused_by_name(tmp_path, data, told):
    import yaml

    values = data_recipe(sources(data), SHARES).model_dump(mode="json", exclude_none=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, **BAD[told]}))
    with pytest.raises(UserError) as error:
        load_recipe(tmp_path / "recipe.yaml")
    assert told in error.value.what
    assert "recipe.yaml" in error.value.what


def test_a_run_on_sources_goes_on_as_if_it_had_not_stopped_and_names_bad_records(data, tmp_path):
    spec = sources(data)
    lines = (data / "pairs.jsonl").read_text() + '{"image": "none.png", "caption": "gone"}\n'
    (data / "more.jsonl").write_text(lines)
    spec["pairs"] = {**spec["pairs"], "path": str(data / "more.jsonl")}
    mixture = {"web": 0.3, "pairs": 0.7}
    recipe = data_recipe(
        {name: spec[name] for name in mixture}, mixture, steps=6, max_bad_records=0.1
    )

    def losses(folder):
        return [(one["text_loss"], one["flow_loss"], one["tokens"]) for one in read_log(folder)]

    Pretraining(recipe, tmp_path / "whole", workers=0).run()
    Pretraining(recipe, tmp_path / "stopped", workers=1).run(until=3)
    Pretraining(load_recipe(tmp_path / "stopped" / "recipe.yaml"), tmp_path / "stopped").run()
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    (bad,) = (tmp_path / "whole" / SKIPPED).read_text().splitlines()
    assert json.loads(bad)["place"] == "more.jsonl:26"
    strict = recipe.model_copy(update={"max_bad_records": 0.0})
    with pytest.raises(UserError, match=r"sources\.pairs: 1 of 26 records"):
        Pretraining(strict, tmp_path / "strict", workers=1).run()


def test_the_program_ends_in_one_message_when_a_source_is_not_there(tmp_path, monkeypatch, capsys):
    recipe = data_recipe({"web": {"kind": "text", "path": str(tmp_path / "none.jsonl")}})
    save_recipe(tmp_path / "recipe.yaml", recipe)
    arguments = ["pretrain", str(tmp_path / "recipe.yaml"), "--output", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["unimm-train", *arguments])
    assert run_program(cli.app) == 2
    told = capsys.readouterr().err
    assert "sources.web" in told
    assert "Traceback" not in told
