"""`dclm`: documents of a shard, and `dclm:mini`: perplexity against the truth."""

import gzip
import json
import math
import random

import pyarrow as pa
import pytest
from task_runs import UniformText, run_task

from unimm_eval.api import TextScore, UserError
from unimm_eval.data import files_of
from unimm_eval.world import score


class Oracle(UniformText):
    """Knows the language, with words as tokens; `excess` nats a token more than it must pay."""

    excess = 0.0

    def _score(self, text):
        tokens = len(text.split())
        return TextScore(
            nats=score(text) + self.excess * tokens, tokens=tokens, bytes=len(text.encode())
        )


def test_knowing_the_language_is_a_ratio_of_one(make_task, context):
    metrics = run_task(make_task("dclm:mini", documents=50), Oracle(), context).metrics
    assert metrics["ratio"].value == pytest.approx(1.0)
    assert metrics["ratio"].stderr == pytest.approx(0.0, abs=1e-9)
    assert metrics["perplexity"].value == pytest.approx(metrics["true_perplexity"].value)


def test_the_ratio_is_what_is_paid_too_much(make_task, context):
    class Wasteful(Oracle):
        excess = math.log(1.1)

    metrics = run_task(make_task("dclm:mini", documents=50), Wasteful(), context).metrics
    assert metrics["ratio"].value == pytest.approx(1.1)
    assert metrics["perplexity"].value == pytest.approx(1.1 * metrics["true_perplexity"].value)


def test_a_uniform_model_is_at_chance(make_task, context):
    metrics = run_task(make_task("dclm:mini"), UniformText(), context).metrics
    assert metrics["perplexity"].value == pytest.approx(256) == metrics["perplexity"].chance
    for name in ("perplexity", "ratio", "bits_per_byte"):
        low, high = metrics[name].interval
        assert low <= metrics[name].chance <= high
    low, high = metrics["true_perplexity"].interval
    assert low < metrics["true_perplexity"].value < high


def test_the_report_shows_the_document_and_the_truth(make_task, context):
    task = make_task("dclm:mini", documents=2)
    run = run_task(task, Oracle(), context)
    exhibit = task.exhibit(run.samples[0], run.outputs[0], run.scores[0])
    assert exhibit.group in {"once", "today", "remember"}
    assert exhibit.facts["true nats per token"] == pytest.approx(exhibit.facts["nats per token"])


# --- official -----------------------------------------------------------------------------------


def shard(path, texts, *, cut=1.0):
    """Write texts as JSON lines, packed as the name says, of which only a part arrives."""
    lines = "\n".join(json.dumps({"text": text, "url": "http://example.org"}) for text in texts)
    packing = {".zst": "zstd", ".gz": "gzip"}.get(path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.output_stream(str(path), compression=packing) as stream:
        stream.write(lines.encode())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    return path


def test_the_pinned_shard_is_read_from_the_data_folder(make_task, context, tmp_path):
    task = make_task("dclm", documents=3)
    with pytest.raises(UserError, match=r"(?s)is missing.*unimm-eval data fetch dclm"):
        task.check()
    (file,) = files_of(task.card)
    assert task.card.data["revision"] in file.url
    assert file.url.endswith(task.card.data["shard"])
    shard(file.path(tmp_path), ["one", "two", "three", "four"])
    run = run_task(make_task("dclm", documents=3), UniformText(), context)
    assert list(run.metrics) == ["perplexity", "bits_per_byte"]
    assert (run.metrics["perplexity"].n, run.metrics["perplexity"].value) == (
        3,
        pytest.approx(256),
    )


def test_a_shard_that_is_not_the_one_of_the_first_fetch_is_refused(make_task, tmp_path):
    (file,) = files_of(make_task("dclm").card)
    shard(file.path(tmp_path), ["one", "two"])
    file.record(tmp_path).write_text("0" * 64 + "  shard\n")
    with pytest.raises(UserError, match=r"has SHA-256 [0-9a-f]{64} instead of 0{64}"):
        make_task("dclm").check()


def test_equal_documents_are_one_protocol_however_packed(make_task, tmp_path):
    texts = [f"document {i}" for i in range(5)]
    tasks = [
        make_task("dclm", path=shard(tmp_path / name, texts))
        for name in ("a.jsonl", "b.jsonl.zst", "c.jsonl.gz")
    ]
    hashes = {task.protocol_hash({"path": str(task.config.path)}) for task in tasks}
    assert len(hashes) == 1
    ids = {tuple(sample.id for sample in task.samples()) for task in tasks}
    assert len(ids) == 1
    other = make_task("dclm", path=shard(tmp_path / "d.jsonl", [*texts[1:], "another"]))
    assert other.protocol_hash({}) not in hashes
    assert tasks[0].protocol_hash({"documents": 4}) not in hashes


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
def test_a_shard_that_ends_early_is_scored_as_far_as_it_goes(make_task, context, tmp_path, suffix):
    texts = [random.Random(i).randbytes(300).hex() for i in range(2000)]
    path = shard(tmp_path / f"a.jsonl{suffix}", texts, cut=0.5)
    run = run_task(make_task("dclm", path=path), UniformText(), context)
    metric = run.metrics["perplexity"]
    assert 0 < metric.n < 2000
    assert metric.unscored == 1
    assert f"ends early, behind document {metric.n}" in run.scores[-1].unscored


def test_documents_with_faults_are_counted(make_task, context, tmp_path):
    lines = [b'{"text": "good"}', b'{"text": ""}', b'{"text": "\xff"}', b"", b"no JSON"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    run = run_task(make_task("dclm", path=path), UniformText(), context)
    assert (run.metrics["perplexity"].n, run.metrics["perplexity"].unscored) == (1, 3)
    told = [score.unscored for score in run.scores if score.unscored]
    for number, reason in ((2, "is empty"), (3, "not UTF-8"), (4, "not JSON")):
        assert any(f"document {number}: " in text and reason in text for text in told)


def test_files_that_are_no_shards_are_named(make_task, tmp_path):
    with pytest.raises(UserError, match="is no file"):
        make_task("dclm", path=tmp_path).check()
    for name, content in (("a.jsonl", b"\n"), ("a.jsonl.gz", gzip.compress(b""))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="is empty"):
            make_task("dclm", path=tmp_path / name).check()
    (tmp_path / "a.jsonl.zst").write_bytes(b"not packed at all")
    with pytest.raises(UserError, match="ends early, behind document 0"):
        make_task("dclm", path=tmp_path / "a.jsonl.zst").check()


@pytest.mark.parametrize("name", ["dclm", "notes"])
def test_the_card_pins_the_defaults(make_task, name):
    task = make_task(name)
    assert task.card.settings == task.config.model_dump(exclude={"limit", "path"})
