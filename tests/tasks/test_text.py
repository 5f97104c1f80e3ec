"""`text`: what is read, how it is cut, and what its numbers mean."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_runs import UniformText, run_task

from unimm_eval.api import Item, TextScore, UserError
from unimm_eval.tasks.text.corpus import cut, read_corpus

PARAGRAPHS = "\n\n".join(f"Paragraph {i}: " + "some words follow. " * 30 for i in range(100))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def records(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


@given(st.text(max_size=3000), st.integers(1024, 1100))
def test_passages_together_are_the_file(text, size):
    data = text.encode()
    pieces = [data[start:end] for start, end in cut(data, size)]
    assert b"".join(pieces) == data
    assert all(0 < len(piece) <= size for piece in pieces)
    assert "".join(piece.decode() for piece in pieces) == text


def test_long_files_are_cut_between_paragraphs(tmp_path):
    path = write(tmp_path / "book.txt", PARAGRAPHS)
    passages = read_corpus(path, passage_bytes=4096)
    assert len(passages) > 10
    assert all(passage.text().startswith("Paragraph") for passage in passages)


def test_a_line_without_breaks_is_cut_between_characters(tmp_path):
    passages = read_corpus(write(tmp_path / "one.txt", "é" * 5000), passage_bytes=1025)
    assert "".join(passage.text() for passage in passages) == "é" * 5000


def test_a_uniform_model_is_at_chance(make_task, context, tmp_path):
    task = make_task("text", path=write(tmp_path / "a.txt", PARAGRAPHS), passage_bytes=2048)
    run = run_task(task, UniformText(), context)
    bits, perplexity = run.metrics["bits_per_byte"], run.metrics["perplexity"]
    assert bits.value == pytest.approx(8.0) == bits.chance
    assert perplexity.value == pytest.approx(256) == perplexity.chance
    assert perplexity.interval[0] <= perplexity.value <= perplexity.interval[1]
    assert bits.facts["bytes"] == len(PARAGRAPHS.encode())


def test_a_single_passage_has_no_error_bar(make_task, context, tmp_path):
    run = run_task(make_task("text", path=write(tmp_path / "a.txt", "hi")), UniformText(), context)
    assert run.metrics["bits_per_byte"].interval is None
    assert run.metrics["bits_per_byte"].value == pytest.approx(8.0)


def test_long_documents_weigh_more(make_task, context, tmp_path):
    class TwoLevels(UniformText):
        def _score(self, text):
            size = len(text)
            return TextScore(nats=size * (1.0 if text[0] == "a" else 3.0), tokens=size, bytes=size)

    path = write(tmp_path / "a.jsonl", records({"text": "a" * 90}, {"text": "b" * 10}))
    run = run_task(make_task("text", path=path), TwoLevels(), context)
    assert run.metrics["perplexity"].value == pytest.approx(math.exp(1.2))
    assert run.metrics["bits_per_byte"].value == pytest.approx(1.2 / math.log(2))


def test_sources_are_told_apart(make_task, context, tmp_path):
    rows = [{"text": "aaaa", "source": "wiki"}, {"text": "b", "source": "web"}, {"text": "cc"}]
    path = write(tmp_path / "a.jsonl", records(*rows) + "\n\n")
    run = run_task(make_task("text", path=path), UniformText(), context)
    assert run.metrics["bits_per_byte"].facts["by_source"] == pytest.approx(
        {"": 8.0, "web": 8.0, "wiki": 8.0}
    )
    for row in run.metrics["bits_per_byte"].facts["sources"]:
        assert row["bits_per_byte"] == pytest.approx(8.0)
        assert (row["documents"], row["perplexity"]) == (1, pytest.approx(256))
    exhibit = make_task("text", path=path).exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.group == "wiki"
    assert exhibit.prompt == "aaaa"


def test_the_window_is_what_the_model_allows(make_task, context, tmp_path):
    path = write(tmp_path / "a.txt", "text")
    for allowed, expected in ((512, 512), (10_000, 4096)):
        model = UniformText(max_length=allowed)
        run = run_task(make_task("text", path=path, overlap=64), model, context)
        assert (model.seen[0].max_length, model.seen[0].overlap) == (expected, 64)
        facts = run.metrics["perplexity"].facts
        assert (facts["window"], facts["overlap"]) == (expected, 64)


def test_folders_are_read_in_order_of_name(make_task, tmp_path):
    folder = tmp_path / "corpus"
    write(folder / "b" / "two.md", "second")
    write(folder / "a.txt", "first")
    write(folder / "c.jsonl", records({"text": "third"}))
    write(folder / "ignored.png", b"\x89PNG")
    samples = list(make_task("text", path=folder).samples())
    assert [sample.inputs["file"] for sample in samples] == ["a.txt", "b/two.md", "c.jsonl"]


def test_the_same_text_elsewhere_is_the_same_protocol(make_task, tmp_path):
    one = make_task("text", path=write(tmp_path / "one" / "a.txt", "text"))
    same = make_task("text", path=write(tmp_path / "two" / "a.txt", "text"))
    other = make_task("text", path=write(tmp_path / "three" / "a.txt", "other"))
    hashes = [task.protocol_hash({"path": str(task.config.path)}) for task in (one, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert [s.id for s in one.samples()] == [s.id for s in same.samples()]
    assert one.protocol_hash({"window": 7}) != hashes[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", r"empty.txt is empty"),
        ("blank.txt", b" \n\n", r"blank.txt is empty"),
        ("latin.txt", b"caf\xe9", r"latin.txt is not UTF-8 text \(byte 3\)"),
        ("empty.jsonl", b"\n", r"empty.jsonl is empty"),
        ("latin.jsonl", b'\n{"text": "\xe9"}', r"latin.jsonl, line 2: not UTF-8 text \(byte 10 of"),
        ("number.jsonl", b'{"text": 3}', r'number.jsonl, line 1: no string "text"'),
        ("broken.jsonl", b'{"text"', r"broken.jsonl, line 1: not JSON"),
        ("list.jsonl", b"[1]", r"list.jsonl, line 1: not a JSON object"),
        ("nothing.jsonl", b'{"text": ""}', r'nothing.jsonl, line 1: its "text" is empty'),
        ("half.jsonl", b'{"text": "\\ud800"}', r"half.jsonl, line 1: half of a character"),
        ("deep.jsonl", b'{"text": ' + b"[" * 100_000, r"deep.jsonl, line 1: not JSON"),
    ],
)
def test_what_cannot_be_scored_is_named_and_the_rest_is_scored(
    make_task, context, tmp_path, name, content, message
):
    with pytest.raises(UserError, match=message):
        make_task("text", path=write(tmp_path / name, content)).check()
    write(tmp_path / "good.txt", "good")
    run = run_task(make_task("text", path=tmp_path), UniformText(), context)
    metric = run.metrics["bits_per_byte"]
    assert (metric.value, metric.n, metric.unscored) == (pytest.approx(8.0), 1, 1)
    (told,) = [score.unscored for score in run.scores if score.unscored]
    assert re.search(message, told)
    assert str(tmp_path) not in json.dumps([sample.inputs for sample in run.samples])
    task = make_task("text", path=tmp_path)
    notes = [
        task.exhibit(*row).note for row in zip(run.samples, run.outputs, run.scores, strict=True)
    ]
    assert sorted(notes) == sorted(["", told])


def test_records_with_faults_leave_the_others(make_task, context, tmp_path):
    lines = [b'{"text": "one"}', b'{"text": "\xe9"}', b"{}", b'{"text": "two", "source": "web"}']
    run = run_task(
        make_task("text", path=write(tmp_path / "a.jsonl", b"\n".join(lines))),
        UniformText(),
        context,
    )
    assert (run.metrics["perplexity"].n, run.metrics["perplexity"].unscored) == (2, 2)
    assert run.metrics["bits_per_byte"].facts["bytes"] == 6


def test_a_line_of_ten_megabytes_is_a_document(make_task, context, tmp_path):
    long = "word " * 2_000_000
    path = write(tmp_path / "a.jsonl", records({"text": "short"}, {"text": long}))
    run = run_task(make_task("text", path=path), UniformText(), context)
    assert run.metrics["bits_per_byte"].facts["bytes"] == len("short") + len(long)


def test_a_source_has_an_interval_over_its_documents(make_task, context, tmp_path):
    class ByLength(UniformText):
        def _score(self, text):
            return TextScore(nats=float(len(text) % 5 + 1), tokens=1, bytes=len(text))

    rows = [{"text": "x" * (i + 1), "source": "ab"[i % 2]} for i in range(40)]
    path = write(tmp_path / "a.jsonl", records(*rows))
    run = run_task(make_task("text", path=path), ByLength(), context)
    sources = run.metrics["bits_per_byte"].facts["sources"]
    assert [row["source"] for row in sources] == ["a", "b"]
    for row in sources:
        assert row["low"] < row["bits_per_byte"] < row["high"]
        assert row["documents"] == 20


def test_notes_asks_for_a_corpus_and_says_why(make_task, context, tmp_path):
    with pytest.raises(UserError, match=r"(?s)private.*--set notes.path=FILE"):
        make_task("notes").check()
    path = write(tmp_path / "a.txt", "my notes")
    run = run_task(make_task("notes", path=path), UniformText(), context)
    assert list(run.metrics) == ["perplexity", "bits_per_byte"]


def test_missing_paths_are_named(make_task, tmp_path):
    with pytest.raises(UserError, match="needs a text"):
        make_task("text").check()
    with pytest.raises(UserError, match="nowhere does not exist"):
        make_task("text", path=tmp_path / "nowhere").check()
    with pytest.raises(UserError, match="holds no text"):
        make_task("text", path=tmp_path).check()


def test_a_file_that_changes_during_a_run_is_refused(make_task, context, tmp_path):
    path = write(tmp_path / "a.txt", "before")
    task = make_task("text", path=path)
    (sample,) = task.samples()
    write(path, "after!")
    item = Item(sample=sample, repeat=0, seed=0)
    with pytest.raises(UserError, match="has changed"):
        list(task.produce(UniformText(), [item], context))


def test_no_finite_likelihood_is_unscored(make_task, context, tmp_path):
    class Broken(UniformText):
        def _score(self, text):
            found = super()._score(text)
            return found if text != "bad" else TextScore(nats=math.nan, tokens=3, bytes=3)

    path = write(tmp_path / "a.jsonl", records({"text": "good"}, {"text": "bad"}, {"text": "fine"}))
    run = run_task(make_task("text", path=path), Broken(), context)
    assert (run.metrics["perplexity"].n, run.metrics["perplexity"].unscored) == (2, 1)


def test_the_card_pins_the_defaults(make_task):
    task = make_task("text")
    assert task.card.settings == task.config.model_dump(include=set(task.card.settings))
