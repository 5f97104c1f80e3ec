"""`text`: what is read, how it is cut, and what its numbers mean."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_runs import UniformText, run_task

from unimm_eval.api import TextScore, UserError
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
    exhibit = make_task("text", path=path).exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.group == "wiki"
    assert exhibit.prompt == "aaaa"


def test_the_window_is_what_the_model_allows(make_task, context, tmp_path):
    path = write(tmp_path / "a.txt", "text")
    for allowed, expected in ((512, 512), (10_000, 4096)):
        model = UniformText(max_length=allowed)
        run = run_task(make_task("text", path=path, overlap=64), model, context)
        assert (model.seen[0].max_length, model.seen[0].overlap) == (expected, 64)
        assert run.metrics["perplexity"].facts["window"] == expected


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
        ("latin.jsonl", b'{"text": "ok"}\n{"text": "\xe9"}', r"latin.jsonl is not UTF-8.*line 2"),
        (
            "bad.jsonl",
            b'{"text": 3}\n{"text"\n[1]\n{"text": ""}',
            r"(?s)bad.jsonl: 4 records.*line 4",
        ),
        ("half.jsonl", b'{"text": "\\ud800"}', r"half.jsonl: 1 records.*\n.*half of a character"),
    ],
)
def test_what_cannot_be_scored_is_named(make_task, tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        make_task("text", path=write(tmp_path / name, content)).check()
    write(tmp_path / "good.txt", "good")
    with pytest.raises(UserError, match=message):
        make_task("text", path=tmp_path).check()


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
    sample = next(iter(task.samples()))
    write(path, "after!")
    with pytest.raises(UserError, match="has changed"):
        task._passage(sample).text()


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
