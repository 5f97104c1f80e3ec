"""`hf:`: text models of transformers, held to lm-eval's own numbers on the same files."""

import json
import math
from dataclasses import replace

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny_hub import CHAT, prose, tiny_hub_model

from unimm_eval.adapters import hf
from unimm_eval.adapters.hf import HubModel
from unimm_eval.api import (
    ChatRequest,
    ContinuationRequest,
    DocumentRequest,
    Picture,
    SampleError,
    Turn,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.evaluate import evaluate

LENGTH = 64
DOCUMENTS = [prose(count, first=count) for count in (1, 4, 9)] + ["x", "é" * 40, prose(12)[:700]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hub_model(tmp_path_factory.mktemp("hub") / "tiny", length=LENGTH, chat=True)


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def theirs(folder):
    return lm_eval_model(folder)


def load(folder):
    return HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")


def lm_eval_model(folder, **settings):
    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **settings)


def instances(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=row, idx=0) for row in arguments]


def rolling(lm, texts):
    """−log p of each text, by lm-eval."""
    asked = instances("loglikelihood_rolling", [(text,) for text in texts])
    return [-value for value in lm.loglikelihood_rolling(asked, disable_tqdm=True)]


def documents(texts, *, max_length=4096, overlap=0):
    return [
        DocumentRequest(sample_id=str(i), text=text, max_length=max_length, overlap=overlap)
        for i, text in enumerate(texts)
    ]


def chat(text, **fields):
    return ChatRequest(sample_id=text, parts=(text,), **fields)


# --- scoring --------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("begins", [False, True])
def test_perplexity_is_lm_evals(tmp_path, architecture, begins):
    folder = tiny_hub_model(
        tmp_path / "m", architecture=architecture, length=LENGTH, begins=begins, seed=1
    )
    lm = lm_eval_model(folder, add_bos_token=False)
    expected = rolling(lm, DOCUMENTS)
    tokens = [len(lm.tok_encode(text)) for text in DOCUMENTS]
    assert lm.max_length == LENGTH < max(tokens)
    scores = load(folder).score_documents(documents(DOCUMENTS))
    assert [score.nats for score in scores] == pytest.approx(expected, rel=1e-5)
    assert [score.tokens for score in scores] == tokens
    assert [score.bytes for score in scores] == [len(text.encode()) for text in DOCUMENTS]
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in DOCUMENTS))
    record = evaluate(
        f"hf:{folder}", "text", output=tmp_path / "run", settings={"text": {"path": str(path)}}
    )
    perplexity = record.get("text", "perplexity")
    assert perplexity.value == pytest.approx(math.exp(sum(expected) / sum(tokens)), rel=1e-4)
    assert (perplexity.facts["window"], perplexity.facts["overlap"]) == (LENGTH, 0)
    assert perplexity.chance == 400


def test_a_window_that_is_asked_for_is_lm_evals_maximum(folder, model):
    expected = rolling(lm_eval_model(folder, max_length=20), DOCUMENTS)
    scores = model.score_documents(documents(DOCUMENTS, max_length=20))
    assert [score.nats for score in scores] == pytest.approx(expected, rel=1e-5)


def test_more_context_is_another_number(model):
    apart, overlapping = (
        math.fsum(score.nats for score in model.score_documents(documents(DOCUMENTS, overlap=o)))
        for o in (0, 40)
    )
    assert abs(apart - overlapping) > 1


def test_text_without_a_token_scores_nothing(model):
    (score,) = model.score_documents(documents([""]))
    assert (score.nats, score.tokens, score.bytes) == (0, 0, 0)


def test_continuations_are_lm_evals(model, theirs):
    tokens = model._tokens
    likeliest = [
        (context, answer)
        for context in (prose(1, first=index)[:40] for index in range(20))
        for answer in model.generate_text([chat(context, max_new_tokens=1, template=False)])
        if len(tokens.whole(context + answer)) == len(tokens.whole(context)) + 1
    ]
    pairs = [
        ("a red ring", " and a blue one"),
        ("a red ", "ring"),
        ("a red \n", " ring"),
        ("", "a red ring"),
        ("<s>a red ring", " is here"),
        (prose(9), " A"),
        (prose(9), " B"),
        (prose(9), " is a ring"),
        ("once", prose(1)[:60]),
        *likeliest,
    ]
    expected = theirs.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    found = model.score_continuations(
        [
            ContinuationRequest(sample_id="s", context=context, continuation=continuation)
            for context, continuation in pairs
        ]
    )
    assert [-score.nats for score in found] == pytest.approx(
        [logp for logp, _ in expected], rel=1e-5
    )
    assert [score.is_greedy for score in found] == [greedy for _, greedy in expected]
    assert any(score.is_greedy for score in found)
    assert found[1].bytes == len("ring")


def test_a_continuation_that_does_not_fit_is_its_samples_fault(model):
    request = ContinuationRequest(sample_id="long", context="a", continuation=prose(20))
    with pytest.raises(SampleError, match="sample long: a continuation of"):
        model.score_continuations([request])
    with pytest.raises(SampleError, match="a continuation of 0 tokens"):
        model.score_continuations([replace(request, continuation="")])


def test_how_many_rows_go_at_once_changes_nothing(model, monkeypatch):
    asked = documents(DOCUMENTS)
    expected = [score.nats for score in model.score_documents(asked)]
    for tokens, logits, part in ((1, 1, 1), (200, 2**30, 3000), (10**6, 2**30, 2**30)):
        monkeypatch.setattr(hf, "PASS_TOKENS", tokens)
        monkeypatch.setattr(hf, "PASS_LOGITS", logits)
        monkeypatch.setattr(hf, "_PART_LOGITS", part)
        found = [score.nats for score in model.score_documents(asked)]
        assert found == pytest.approx(expected, rel=1e-6)
    alone = [model.score_documents([request])[0].nats for request in asked]
    assert alone == pytest.approx(expected, rel=1e-6)


# --- generation -----------------------------------------------------------------------------------


def test_text_out_of_a_template_is_continued_as_by_lm_eval(model, theirs):
    asked = [("a red ring", [" "]), ("once there was", ["e", "\n"]), (prose(9), ["zz"])]
    expected = theirs.generate_until(
        instances(
            "generate_until",
            [(text, {"until": until, "max_gen_toks": 20}) for text, until in asked],
        ),
        disable_tqdm=True,
    )
    found = model.generate_text(
        [chat(text, stop=tuple(until), max_new_tokens=20, template=False) for text, until in asked]
    )
    assert found == expected


def test_a_chat_is_in_the_tokenizers_template(model, folder):
    tokenizer = model._tokens.tokenizer
    assert tokenizer.chat_template == CHAT
    history = (Turn(parts=("what",), answer="a ring"),)
    (answer,) = model.generate_text([chat("which", history=history, max_new_tokens=12)])
    shown = "<user> what\n<assistant> a ring\n<user> which\n<assistant> "
    ids = tokenizer(shown, return_tensors="pt")["input_ids"]
    made = model._model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert answer == tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_batch_answers_as_each_request_alone(model):
    requests = [
        chat("a", max_new_tokens=10),
        chat("a longer question than the others", max_new_tokens=10, stop=("e",)),
        chat("drawn", max_new_tokens=10, temperature=1.0, seed=1),
        chat("drawn", max_new_tokens=10, temperature=1.0, seed=2),
        chat("drawn", max_new_tokens=10, temperature=1.0, seed=1, top_p=1e-9),
        chat("drawn", max_new_tokens=10),
        chat("short", max_new_tokens=3),
        chat("choose", choices=("yes", "no", "yesterday")),
    ]
    together = model.generate_text(requests)
    assert together == [model.generate_text([request])[0] for request in requests]
    assert together[2] != together[3]
    assert together[4] == together[5]
    assert "e" not in together[1]


def test_a_choice_is_what_greedy_decoding_takes(model):
    tokenizer = model._tokens.tokenizer
    (first,) = model.generate_text([chat("which", max_new_tokens=1)])
    token = tokenizer(first, add_special_tokens=False)["input_ids"]
    assert len(token) == 1
    (chosen,) = model.generate_text([chat("which", choices=("q", first, "zz"))])
    assert chosen == first


def test_what_a_text_model_cannot_answer_is_its_samples_fault(model):
    picture = Picture(path=None)
    with pytest.raises(SampleError, match=r"Sample s shows a picture, and tiny reads only text"):
        model.generate_text([ChatRequest(sample_id="s", parts=(picture, "what is it"))])
    with pytest.raises(SampleError, match=r"needs [\d,]+ tokens, but tiny has room for 64"):
        model.generate_text([chat(prose(9))])


# --- files ----------------------------------------------------------------------------------------


def test_a_model_can_do_what_was_promised(folder, model):
    assert HubModel.matches(f"hf:{folder}")
    assert not HubModel.matches(str(folder))
    assert HubModel.capabilities_for(f"hf:{folder}") <= capabilities_of(model)
    assert model.name == "tiny"
    facts = model.describe()
    assert (facts["max_length"], facts["vocab_size"], facts["dtype"]) == (LENGTH, 400, "float32")


def test_the_fingerprint_is_of_the_files(folder, model, tmp_path):
    same = tiny_hub_model(tmp_path / "same", length=LENGTH, chat=True)
    other = tiny_hub_model(tmp_path / "other", length=LENGTH, chat=True, seed=1)
    assert load(same).fingerprint == model.fingerprint != load(other).fingerprint
    (same / "README.md").write_text("nothing that is read")
    assert load(same).fingerprint == model.fingerprint
    (same / "generation_config.json").write_text('{"repetition_penalty": 1.3}')
    assert load(same).fingerprint != model.fingerprint


def test_a_repository_is_its_commit(folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"(?s)hf:org/tiny: cannot be fetched.*hf download org/tiny"
    ):
        HubModel.capabilities_for("hf:org/tiny")
    commits = ["a" * 40, "b" * 40]
    cached = tmp_path / "models--org--tiny"
    (cached / "refs").mkdir(parents=True)
    for commit in commits:
        (cached / "snapshots" / commit).mkdir(parents=True)
        for file in folder.iterdir():
            (cached / "snapshots" / commit / file.name).symlink_to(file)
    (cached / "refs" / "main").write_text(commits[0])
    (cached / "refs" / "v2").write_text(commits[1])
    models = {
        spec: HubModel.load(spec, device="cpu", dtype="float32")
        for spec in ("hf:org/tiny", f"hf:org/tiny@{commits[0]}", "hf:org/tiny@v2")
    }
    one, same, other = (model.fingerprint for model in models.values())
    assert one == same != other
    assert [model.describe()["revision"] for model in models.values()] == [
        commits[0],
        commits[0],
        commits[1],
    ]
    with pytest.raises(UserError, match="--revision v3"):
        HubModel.capabilities_for("hf:org/tiny@v3")


def test_what_cannot_be_loaded_is_named(folder, tmp_path):
    def copied(name, **changes):
        made = tmp_path / name
        made.mkdir()
        for file in folder.iterdir():
            (made / file.name).write_bytes(file.read_bytes())
        config = json.loads((made / "config.json").read_text())
        (made / "config.json").write_text(json.dumps({**config, **changes}))
        return made

    pickled = copied("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"no weights in safetensors, only pytorch_model.bin"):
        HubModel.capabilities_for(f"hf:{pickled}")
    custom = copied("custom", model_type="mine", auto_map={"AutoConfig": "mine.Mine"})
    with pytest.raises(UserError, match="cannot be loaded"):
        HubModel.capabilities_for(f"hf:{custom}")
    pictures = copied("pictures", model_type="vit", architectures=["ViTModel"])
    with pytest.raises(UserError, match="vit is no language model"):
        HubModel.capabilities_for(f"hf:{pictures}")
    deeper = copied("deeper", num_hidden_layers=3)
    with pytest.raises(UserError, match=r"lacks \d+ weights, which would be random"):
        load(deeper)
    cut = copied("cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be loaded"):
        load(cut)
    wider = copied("wider", hidden_size=64)
    with pytest.raises(UserError, match=r"lacks \d+ weights|cannot be loaded"):
        load(wider)
    for spec in ("hf:", "hf:a/b/c", "hf:./nowhere", "hf:/nowhere/at/all"):
        with pytest.raises(UserError, match="no folder and no repository"):
            HubModel.capabilities_for(spec)
