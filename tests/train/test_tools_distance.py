"""`unimm-train caption-distance`: the number, its interval, both kinds of embedder, restarts."""

import json
import random
import time

import numpy as np
import pytest
from tools_kit import (
    QUICK,
    EmbeddingServer,
    Killer,
    embedding_server,
    run,
    run_killed,
    vector_of,
    write_rows,
)

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.judges.settings import JudgeSettings
from unimm_eval.train.tools.distance import Distances, distances, interval, resampled_centroids
from unimm_eval.train.tools.embedding import open_embedder
from unimm_eval.train.tools.sampling import draw


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("UNIMM_EVAL_JUDGE_KEY", raising=False)


@pytest.fixture
def corpora(tmp_path):
    """Texts by their first word: half of `near` is like the reference, nothing of `far` is."""
    words = {"ref": ["web1", "web2"], "near": ["web1", "cap1"], "far": ["cap1", "cap2"]}
    return {
        name: write_rows(
            tmp_path / f"{name}.jsonl",
            [{"text": f"{choices[n % 2]} {name} {n} " + "x" * (n % 7)} for n in range(60)],
        )
        for name, choices in words.items()
    }


def job_of(corpora, output, **fields):
    rest = {name: path for name, path in corpora.items() if name != "ref"}
    return Distances(
        reference=("ref", corpora["ref"]), corpora=rest, output=output, batch_size=8, **fields
    )


def served(server):
    return open_embedder(server.spec, limits=JudgeSettings(concurrency=3), patience=QUICK)


def by_hand(a, b):
    """1 − cos of the means of unit vectors."""
    means = []
    for path in (a, b):
        texts = [json.loads(line)["text"].strip() for line in path.read_text().splitlines()]
        rows = np.array([vector_of(text) for text in texts])
        means.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(0))
    return 1 - means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])


def test_it_is_the_cosine_distance_of_the_centroids(corpora, tmp_path):
    with embedding_server(EmbeddingServer()) as server:
        found = distances(job_of(corpora, tmp_path / "out"), served(server))
    assert [entry.corpus for entry in found] == ["near", "far"]
    for entry in found:
        expected = by_hand(corpora["ref"], corpora[entry.corpus])
        assert entry.distance == pytest.approx(expected, abs=2e-6)
        assert entry.interval[0] < entry.interval[1]
        assert entry.n == entry.reference_n == 60
    assert found[0].interval[1] < found[1].interval[0]
    written = json.loads((tmp_path / "out" / "distance.json").read_text())
    assert [row["distance"] for row in written["distances"]] == [e.distance for e in found]


def test_a_corpus_is_at_no_distance_from_itself(corpora, tmp_path):
    same = {"ref": corpora["ref"], "again": corpora["ref"]}
    with embedding_server(EmbeddingServer()) as server:
        [entry] = distances(job_of(same, tmp_path / "out"), served(server))
    assert entry.distance == 0.0
    assert entry.interval[0] == 0.0


def test_intervals_hold_the_true_distance_as_often_as_they_say():
    """Two populations at a known angle: 95% of the intervals hold it, to what 120 draws tell."""
    rng = np.random.default_rng(0)
    a, b = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.8, 0.6, 0.0, 0.0])
    held = 0
    for trial in range(120):
        rows = [m + 0.6 * rng.normal(size=(200, 4)) for m in (a, b)]
        means = [r.mean(0) for r in rows]
        lengths = np.linalg.norm(means[0]) * np.linalg.norm(means[1])
        distance = 1 - means[0] @ means[1] / lengths
        drawn = [
            resampled_centroids(r.astype(np.float32), seed=[trial, n]) for n, r in enumerate(rows)
        ]
        low, high = interval(float(distance), *drawn)
        held += low <= 0.2 <= high
    assert held / 120 == pytest.approx(0.95, abs=0.06)


def test_texts_are_cut_and_drawn_evenly(tmp_path):
    path = write_rows(tmp_path / "c.jsonl", [{"caption": f"{n:04d}" + "y" * 90} for n in range(50)])
    counts = np.zeros(50)
    for seed in range(200):
        sample = draw(path, name="c", samples=10, characters=4, seed=seed, max_skipped=0.0)
        assert len(set(sample.texts)) == 10
        assert all(len(text) == 4 for text in sample.texts)
        counts[[int(text) for text in sample.texts]] += 1
    assert np.square((counts - 40) / np.sqrt(40 * 0.8)).sum() < 90  # chi square, 49 degrees
    again = draw(path, name="c", samples=10, characters=4, seed=199, max_skipped=0.0)
    assert again == sample


def arguments(corpora, server, output):
    return [
        "caption-distance",
        f"ref={corpora['ref']}",
        f"near={corpora['near']}",
        str(corpora["far"]),
        f"--output={output}",
        f"--embedder={server.spec}",
        "--batch-size=8",
        "--concurrency=2",
    ]


def test_killed_at_random_moments_it_ends_with_the_file_of_an_unstopped_run(
    corpora, tmp_path, capfd
):
    def slowly(texts):
        time.sleep(0.01)
        return 0

    with embedding_server(EmbeddingServer(fault=slowly, killer=Killer())) as server:
        assert run(arguments(corpora, server, tmp_path / "whole")) == 0
        table = capfd.readouterr().out
        rng = random.Random(3)
        statuses = [
            run_killed(
                arguments(corpora, server, tmp_path / "out"), server.killer, rng=rng, requests=10
            )
            for _ in range(3)
        ]
        assert run(arguments(corpora, server, tmp_path / "out")) == 0
    assert -9 in statuses
    for name in ("distance.json", *(f"embeddings-{n}.f32" for n in range(3))):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "Distance to ref" in table
    assert "near" in table
    assert "far" in table


def test_an_outage_ends_incomplete_and_goes_on(corpora, tmp_path):
    with embedding_server(EmbeddingServer()) as server:
        whole = distances(job_of(corpora, tmp_path / "whole"), served(server))
        embedder = served(server)
        seen = len(server.asked)
        server.fault = lambda texts: 503 if len(server.asked) > seen + 10 else 0
        with pytest.raises(IncompleteError, match="stopped answering"):
            distances(job_of(corpora, tmp_path / "out"), embedder)
        server.fault = lambda texts: 0
        assert (tmp_path / "out" / "embeddings-0.f32").stat().st_size == 60 * 12 * 4
        assert distances(job_of(corpora, tmp_path / "out"), served(server)) == whole


def test_a_text_that_is_refused_costs_itself_alone(corpora, tmp_path):
    lines = corpora["far"].read_text().splitlines()
    bad = [json.dumps({"text": "poison"}), json.dumps({"text": " "}), '{"text": "\\ud83d"}', "{"]
    corpora["bad"] = tmp_path / "bad.jsonl"
    corpora["bad"].write_text("\n".join([*lines, *bad]))
    with embedding_server(EmbeddingServer()) as server:
        with pytest.raises(UserError, match="3 of 64 rows"):
            distances(job_of(corpora, tmp_path / "out"), served(server))
        found = distances(job_of(corpora, tmp_path / "out", max_skipped=0.1), served(server))
    far, bad = found[1:]
    assert (bad.n, bad.skipped) == (60, 4)
    assert bad.distance == far.distance
    reasons = json.loads((tmp_path / "out" / "distance.json").read_text())["skipped"]["bad"]
    assert sorted(reasons) == [f"bad.jsonl, line {n}" for n in (61, 62, 63, 64)]


def test_a_corpus_that_changed_or_another_embedder_is_refused(corpora, tmp_path):
    with embedding_server(EmbeddingServer()) as server:
        distances(job_of(corpora, tmp_path / "out"), served(server))
        write_rows(corpora["far"], [{"text": "one"}, {"text": "two"}])
        with pytest.raises(UserError, match="begun with corpora"):
            distances(job_of(corpora, tmp_path / "out"), served(server))
        write_rows(corpora["far"], [{"text": "one"}])
        with pytest.raises(UserError, match="two at least"):
            distances(job_of(corpora, tmp_path / "other", max_skipped=1.0), served(server))
        twice = arguments(corpora | {"far": corpora["near"]}, server, tmp_path / "twice")
        assert run(twice) == 2


WORDS = ("web1", "web2", "cap1", "cap2", "ref", "near", "far", "a", "b", "c")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny BERT with random weights, as transformers saves it."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("embedder")
    vocabulary = {word: n for n, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).eval().save_pretrained(folder)
    return folder


def embed(folder, texts):
    return next(open_embedder(str(folder), limits=JudgeSettings(), device="cpu").embed([texts]))


@pytest.mark.parametrize("way", ["mean", "cls", "last"])
def test_a_local_model_embeds_a_batch_as_it_does_each_text(model_folder, tmp_path, way):
    import torch
    from transformers import AutoModel, AutoTokenizer

    said = model_folder / "1_Pooling" / "config.json"
    said.parent.mkdir(exist_ok=True)
    key = {"cls": "cls_token", "last": "lasttoken"}.get(way)
    if key is None:
        said.unlink(missing_ok=True)  # the mean is what a folder that says nothing gets
    else:
        said.write_text(json.dumps({f"pooling_mode_{key}": True, "pooling_mode_mean_tokens": 0}))
    texts = ["a b c", "web1", "cap1 far " + "b " * 40]
    found = embed(model_folder, texts)
    model = AutoModel.from_pretrained(str(model_folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
    for row, text in zip(found, texts, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state[0].double()
        pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[way]
        np.testing.assert_allclose(row, pooled / pooled.norm(), atol=1e-5)


def test_a_local_run_goes_on_to_the_same_bits(model_folder, corpora, tmp_path):
    (model_folder / "1_Pooling" / "config.json").unlink(missing_ok=True)
    embedder = open_embedder(str(model_folder), limits=JudgeSettings(), device="cpu")
    whole = distances(job_of(corpora, tmp_path / "out"), embedder)
    file = tmp_path / "out" / "embeddings-1.f32"
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2 + 5])
    assert distances(job_of(corpora, tmp_path / "out"), embedder) == whole
    assert file.read_bytes() == data


def test_a_folder_that_is_no_model_is_refused(model_folder, tmp_path):
    with pytest.raises(UserError, match=r"no config\.json"):
        open_embedder(str(tmp_path), limits=JudgeSettings())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be loaded"):
        open_embedder(str(tmp_path), limits=JudgeSettings())
