"""`openai:` against a real socket; likelihoods held to `hf:` on the same model."""

import json
import traceback

import numpy as np
import pytest
from model_server import KEY, MODEL, ModelServer, serving
from tiny_hub import prose, tiny_hub_model

from unimm_eval.adapters.hf import HubModel
from unimm_eval.adapters.openai import OpenAIModel
from unimm_eval.api import (
    ChatRequest,
    ContinuationRequest,
    DocumentRequest,
    ImageRequest,
    IncompleteError,
    Picture,
    SampleError,
    Turn,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.engine.registry import find_adapter
from unimm_eval.judges.session import Patience

QUICK = Patience(first_wait_s=0.001, longest_wait_s=0.004, timeout_s=5.0, tries=3)
EVERY_SETTING = frozenset({"response_format", "seed", "guidance_scale", "num_inference_steps"})


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("UNIMM_EVAL_MODEL_KEY", KEY)
    monkeypatch.setenv("UNIMM_EVAL_JUDGE_KEY", "sk-of-the-judge")


@pytest.fixture
def server():
    with serving(ModelServer(takes=EVERY_SETTING)) as state:
        yield state


def load(server, *, limits=""):
    return OpenAIModel.load(server.spec + limits, device="cpu", dtype="auto", patience=QUICK)


def chat(*parts, **fields):
    return ChatRequest(sample_id="s", parts=parts, **fields)


def image(prompt, **fields):
    fields = {"guidance_scale": 3.0, "num_inference_steps": 5, **fields}
    return ImageRequest(sample_id="s", key="k", prompt=prompt, **fields)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_a_server_offers_is_what_the_model_can_do(server):
    assert find_adapter(server.spec) is OpenAIModel
    chats = {"GeneratesText", "ReadsPictures"}
    assert OpenAIModel.capabilities_for(server.spec) == {*chats, "GeneratesImages"}
    assert capabilities_of(load(server)) == {*chats, "GeneratesImages"}
    server.takes = None
    assert capabilities_of(load(server)) == chats
    server.chat = None
    with pytest.raises(UserError, match=r"(?s)offers no chat.*nothing at completions"):
        load(server)
    server.chat = lambda body: "yes"
    with pytest.raises(UserError, match="cannot run text: it lacks ScoresText"):
        evaluate(server.spec, "text")


def test_a_chat_is_sent_whole(server):
    model = load(server, limits="?concurrency=3")
    shown = Picture(array=np.zeros((4, 4, 3), np.uint8))
    turn = Turn(parts=("before",), answer="said")
    stops = ("1", "2", "3", "4", "5")
    (answer,) = model.generate_text(
        [chat(shown, "what", history=(turn,), stop=stops, temperature=0.5, top_p=0.9, seed=7)]
    )
    assert not any(stop in answer for stop in stops)
    body = server.bodies[-1][1]
    before, said, asked = body["messages"]
    assert (before["content"], said["content"]) == ("before", "said")
    assert asked["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert asked["content"][1] == {"type": "text", "text": "what"}
    assert (body["model"], body["stop"], body["seed"]) == (MODEL, list(stops[:4]), 7)
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 64)
    many = [chat(f"question {index}") for index in range(20)]
    assert model.generate_text(many) == [model.generate_text([one])[0] for one in many]
    with pytest.raises(UserError, match="cannot continue bare text"):
        model.generate_text([chat("once", template=False)])


def test_busy_servers_are_asked_again_and_refusals_cost_their_own_sample(server):
    model = load(server)
    clean = model.generate_text([chat("one"), chat("two")])
    begun = len(server.bodies)
    server.fault = lambda path, nth: 503 if nth % 3 == 0 else 0
    assert model.generate_text([chat("one"), chat("two")]) == clean
    assert len(server.bodies) > begun + 2
    server.fault = lambda path, nth: 400
    with pytest.raises(SampleError, match="Sample s: org/tiny refuses: 400"):
        model.generate_text([chat("one")])


def test_an_outage_leaves_the_run_incomplete_and_the_same_command_goes_on(server, tmp_path):
    def run(folder):
        return evaluate(
            load(server), "vqa16:mini", limit=24, batch_size=8, output=tmp_path / folder
        )

    clean = run("clean")
    down = sum(path == "chat/completions" for path, _ in server.bodies) + 12
    server.fault = lambda path, nth: 503 if path == "chat/completions" and nth > down else 0
    with pytest.raises(IncompleteError, match="does not answer") as caught:
        run("broken")
    assert caught.value.exit_code == 3
    assert not (tmp_path / "broken" / "results.json").exists()
    server.fault = lambda path, nth: 0
    before = len(server.bodies)
    found = run("broken")
    assert len(server.bodies) - before < 24 + 6  # the first batch was kept
    assert found.results == clean.results
    everything = b"".join(files_of(tmp_path).values()) + str(found).encode()
    told = "".join(traceback.format_exception(caught.value)).encode()
    assert KEY.encode() not in everything + told
    assert b"***" in everything  # it came, and was taken out


def test_the_key_is_not_told(server, monkeypatch, tmp_path):
    monkeypatch.setenv("UNIMM_EVAL_MODEL_KEY", "sk-canary-wrong")
    with pytest.raises(UserError, match="does not accept the key") as caught:
        evaluate(server.spec, "vqa16:mini", limit=1, output=tmp_path / "run")
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    assert "UNIMM_EVAL_MODEL_KEY" in caught.value.fix
    for tail in ("?api_key=sk-canary-1", "?concurrency=sk-canary-2", "?"):
        with pytest.raises(UserError) as caught:
            OpenAIModel.capabilities_for(server.spec + tail)
        assert "canary" not in str(caught.value)
    with pytest.raises(UserError) as caught:
        OpenAIModel.capabilities_for(server.spec.replace("http://", "http://me:sk-canary@"))
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("UNIMM_EVAL_MODEL_KEY", KEY)
    assert KEY not in repr(vars(load(server)._server))


def test_the_fingerprint_is_of_url_model_and_version(server):
    one = load(server)
    assert one.name == "tiny"
    assert one.fingerprint == load(server, limits="?concurrency=2").fingerprint
    assert one.describe()["reported"] == {"chat/completions": server.version}
    server.root = "weights/tuned"
    assert load(server).fingerprint != one.fingerprint
    server.root, server.version = "weights/tiny", "tiny-2026-02-02"
    assert load(server).fingerprint != one.fingerprint
    with pytest.raises(IncompleteError, match="answers as tiny-2026-02-02"):
        one.generate_text([chat("which")])


def test_pictures_are_drawn_with_what_the_server_takes(server, tmp_path):
    model = load(server)
    first, again, other = model.generate_images(
        [image("a ring", seed=1), image("a ring", seed=1), image("a ring", seed=2)]
    )
    assert first.shape == (32, 32, 3)
    assert (first == again).all()
    assert (first != other).any()
    assert server.bodies[-1][1].keys() >= EVERY_SETTING
    record = evaluate(model, "geneval:mini", limit=6, output=tmp_path / "run")
    assert record.get("geneval:mini", "images").n == 24
    server.takes = frozenset()
    plain = load(server)
    assert plain.describe()["picture_settings_sent"] == []
    assert plain.fingerprint != model.fingerprint
    with pytest.raises(UserError, match="heun cannot be asked for"):
        plain.generate_images([image("a ring", solver="heun")])


# --- likelihoods ----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[True, False], ids=["begins", "bare"])
def scorer(request, tmp_path_factory):
    """A model of transformers, and completions of a server that runs it."""
    folder = tiny_hub_model(tmp_path_factory.mktemp("hub") / "m", length=256, begins=request.param)
    model = HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")
    return model, lambda body: completion(model, body), request.param


def completion(hub, body):
    import torch

    tokenizer = hub._tokens.tokenizer
    ids = tokenizer(body["prompt"])["input_ids"]
    with torch.inference_mode():
        logprobs_SV = hub._model(torch.tensor([ids])).logits[0].log_softmax(-1)
    ids = [*ids, int(logprobs_SV[-1].argmax())]
    tokens = [tokenizer.decode([token]) for token in ids]
    found = [None, *(float(logprobs_SV[at, token]) for at, token in enumerate(ids[1:]))]
    tops = [None, *({"best": float(row.max())} for row in logprobs_SV)]
    choice = {"text": tokens[-1]}
    if body.get("echo"):
        told = {"tokens": tokens, "token_logprobs": found, "top_logprobs": tops}
        choice = {"text": "".join(tokens), "logprobs": told}
    return {"choices": [choice], "usage": {"prompt_tokens": len(ids) - 1, "total_tokens": len(ids)}}


def test_likelihoods_are_those_of_the_model_itself(server, scorer):
    hub, server.complete, begins = scorer
    model = load(server)
    assert capabilities_of(model) >= {"ScoresText"}
    assert model.describe()["begins_texts"] == begins
    pairs = [("a red ring", " and"), ("a red ", "ring"), (prose(1)[:60], " A"), (prose(1), " is")]
    requests = [ContinuationRequest(sample_id="s", context=c, continuation=t) for c, t in pairs]
    mine, theirs = model.score_continuations(requests), hub.score_continuations(requests)
    assert [score.nats for score in mine] == pytest.approx([s.nats for s in theirs], rel=1e-5)
    assert [(s.tokens, s.bytes, s.is_greedy) for s in mine] == [
        (s.tokens, s.bytes, s.is_greedy) for s in theirs
    ]
    (bare,) = model.generate_text([chat("a red", template=False)])
    assert bare == hub.generate_text([chat("a red", template=False, max_new_tokens=1)])[0]
    document = DocumentRequest(sample_id="d", text=prose(1), max_length=256)
    (whole,), (expected,) = model.score_documents([document]), hub.score_documents([document])
    if begins:
        assert whole.nats == pytest.approx(expected.nats, rel=1e-5)
        assert (whole.tokens, whole.bytes) == (expected.tokens, expected.bytes)
    else:  # nothing stands before its first token, which is not scored
        assert whole.tokens == expected.tokens - 1
        assert 0 < expected.bytes - whole.bytes < 10
        nothing = ContinuationRequest(sample_id="s", context="", continuation="a ring")
        with pytest.raises(SampleError, match="after a context of 0 cannot be scored"):
            model.score_continuations([nothing])
    with pytest.raises(SampleError, match=r"Sample d has .* tokens, and 8 are to be"):
        model.score_documents([DocumentRequest(sample_id="d", text=prose(1), max_length=8)])


def test_a_run_scores_text(server, scorer, tmp_path):
    hub, server.complete, begins = scorer
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(json.dumps({"text": prose(1, first=at)}) for at in range(4)))
    settings = {"text": {"path": str(path)}}
    record = evaluate(load(server), "text", output=tmp_path / "run", settings=settings)
    theirs = evaluate(hub, "text", output=tmp_path / "theirs", settings=settings)
    expected = theirs.get("text", "perplexity").value
    assert record.get("text", "perplexity").value == pytest.approx(
        expected, rel=1e-4 if begins else 0.1
    )


def test_a_server_that_repeats_no_prompt_scores_nothing(server, scorer):
    _, complete, _ = scorer
    server.complete = lambda body: complete({**body, "echo": False})
    assert "ScoresText" not in capabilities_of(load(server))
