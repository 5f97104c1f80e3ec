"""The comparison with transfusion-pytorch: fair work on both sides, and what it writes."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import transfusion
from bench.transfusion import SIZES, Comparison, Ours, Theirs, examples, first_fit, in_turns, packed

TINY = replace(
    SIZES["small"],
    dim=32,
    depth=2,
    heads=2,
    head_dim=16,
    grid=2,
    channels=12,
    pictures=2,
    evaluations=2,
    documents=4,
    caption=6,
    captions=(3, 9),
    texts=(4, 30),
)
needs_peer = pytest.mark.skipif(
    not transfusion.installed(), reason="needs transfusion-pytorch: pip install '.[bench]'"
)


@pytest.mark.parametrize("mixed", [False, True])
def test_documents_are_the_same_each_time_and_as_long_as_said(mixed: bool) -> None:
    first, again = examples(TINY, mixed=mixed), examples(TINY, mixed=mixed)
    assert [example.text for example in first] == [example.text for example in again]
    pictures = [example.latents for example in first]
    assert [picture is None for picture in pictures] == [mixed and i % 2 == 1 for i in range(4)]
    assert mixed or {len(example.text) for example in first} == {TINY.caption}
    for example, picture in zip(first, pictures, strict=True):
        assert example.tokens == len(example.text) + (0 if picture is None else 4)


def test_rows_hold_every_document_once_and_none_is_too_long() -> None:
    ours = Ours(TINY, torch.float32)
    rng = np.random.default_rng(0)
    documents = [ours._document(example, rng) for example in examples(TINY, mixed=True)]
    rows = first_fit(documents, length=40)
    assert sorted(id(d) for row in rows for d in row) == sorted(map(id, documents))
    assert all(sum(map(transfusion.document_length, row)) <= 40 for row in rows)
    assert len(rows) < len(documents)
    tight = packed(documents)
    assert sorted(id(d) for row in tight for d in row) == sorted(map(id, documents))
    lengths = [sum(map(transfusion.document_length, row)) for row in tight]
    assert len(tight) * max(lengths) <= 1.2 * sum(lengths)


def test_ours_trains_and_draws() -> None:
    ours = Ours(TINY, torch.float32)
    losses = [ours.train_step(examples(TINY, mixed=True)) for _ in range(3)]
    assert all(after < before for before, after in pairwise(losses))
    assert ours.generate(["ab", "cde"]).shape == (2, 4, 12)


def test_a_ratio_is_taken_within_a_round() -> None:
    row = {"sizes": "small", "what": "a step", "precision": "fp32", "unit": "s a token"}
    comparison = Comparison(**row, wanted=4.0, ours=[1.0, 2.0, 1.0], theirs=[4.0, 6.0, 5.0])
    assert comparison.times_faster == {"median": 4.0, "lowest": 3.0, "highest": 5.0}
    assert "**4.0** | 3.0 to 5.0 | 4 |" in comparison.line()


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    runs = {("a", ""): lambda: order.append("a"), ("b", ""): lambda: order.append("b")}
    seconds = in_turns(runs, rounds=2)
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {("a", ""): 2, ("b", ""): 2}


@needs_peer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_theirs_does_the_same_work(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Theirs(TINY, dtype)
    calls: list[tuple[int, ...]] = []
    forward = theirs.model.transformer.forward

    def counted(x: torch.Tensor, **given: object) -> object:
        calls.append(tuple(x.shape))
        return forward(x, **given)

    monkeypatch.setattr(theirs.model.transformer, "forward", counted)
    assert theirs.generate(["ab", "cde"]).shape == (2, 4, 12)
    assert sum(shape == (2, 4, 32) for shape in calls) == 2 * TINY.evaluations
    calls.clear()
    assert theirs.generate_one("ab").shape == (4, 12)
    assert len(calls) == 1 + 2 * TINY.evaluations
    assert np.isfinite(theirs.train_step(examples(TINY, mixed=True)))


@needs_peer
def test_the_record_says_what_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfusion, "SIZES", {"small": TINY})
    path = tmp_path / "record.json"
    arguments = ["transfusion", "--rounds", "1", "--threads", "1", "--record", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    threads = torch.get_num_threads()
    transfusion.main()
    torch.set_num_threads(threads)
    record = json.loads(path.read_text())
    assert len(record["comparisons"]) == 8
    assert record["sizes"]["small"]["evaluations"] == 2
    assert record["sizes"]["small"]["parameters"].keys() == {"ours", "theirs"}
    assert record["versions"]["transfusion-pytorch"]
    assert capsys.readouterr().out.count("| small |") == 8
