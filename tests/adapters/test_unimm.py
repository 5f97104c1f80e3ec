"""The adapter of our checkpoints, on a tiny one: what it answers depends on the request alone."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint

from unimm_eval import evaluate
from unimm_eval.adapters import unimm
from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import (
    ChatRequest,
    ContinuationRequest,
    DenoiseRequest,
    DocumentRequest,
    ImageRequest,
    Picture,
    UserError,
    capabilities_of,
    encode_png,
)
from unimm_eval.engine.compare import compare_runs
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.generate import generate_pictures
from unimm_eval.model.sequence import TextSegment, pack

WORDS = ("a", "three", "red", "blue", "squares", "ring", "stands", "below", "1", "ünïcode", "☃")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="module")
def checkpoint(folder):
    """The same checkpoint without the adapter."""
    return load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)


def load(folder):
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


def prose(words, *, seed=0):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def noise(height, width, *, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def document(text, **changes):
    return DocumentRequest(sample_id="d", text=text, max_length=TINY.max_length, **changes)


def chat(*parts, **changes):
    return ChatRequest(sample_id="c", parts=parts, **changes)


def image(prompt, **changes):
    settings = {"guidance_scale": 3.0, "num_inference_steps": 5, **changes}
    return ImageRequest(sample_id="i", key="i", prompt=prompt, **settings)


def denoise(picture, **changes):
    settings = {"caption": "a red ring", "u": 0.5, **changes}
    return DenoiseRequest(sample_id="p", picture=picture, **settings)


def test_it_can_do_what_was_promised_before_it_was_loaded(folder, model):
    promised = UnimmCheckpoint.capabilities_for(str(folder))
    assert promised == capabilities_of(model)
    assert promised == UnimmCheckpoint.capabilities


def test_only_experts_can_be_asked_what_they_are_chosen_for(tmp_path):
    config = replace(TINY, feed_forward="modality", hidden_dim=32)
    folder = tiny_checkpoint(tmp_path / "dense", config=config)
    promised = UnimmCheckpoint.capabilities_for(str(folder))
    assert promised == capabilities_of(load(folder))
    assert "ExposesRouting" not in promised


def test_what_it_says_of_itself_fits_the_record(folder, model, tmp_path):
    facts = json.loads(json.dumps(model.describe()))
    assert facts["max_length"] == TINY.max_length
    assert facts["vocab_size"] == TINY.vocab_size
    assert model.name == "tiny"
    assert load(folder).fingerprint == model.fingerprint
    other = load(tiny_checkpoint(tmp_path / "tiny", seed=1))
    assert other.fingerprint != model.fingerprint


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """All of mini and a text of ours, at batch sizes 1, 3 and 16."""
    base = tmp_path_factory.mktemp("runs")
    text = base / "text.txt"
    text.write_text("\n\n".join(prose(120, seed=seed) for seed in range(8)))
    for size in (1, 3, 16):
        evaluate(
            str(folder),
            "mini,text",
            limit=16,
            device="cpu",
            batch_size=size,
            output=base / str(size),
            settings={
                "cc12m:mini": {"limit": 4},
                "geneval:mini": {"limit": 6},
                "text": {"path": str(text), "passage_bytes": 1024},
            },
        )
    return base


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 16])
def test_outputs_do_not_depend_on_the_batch(runs, size):
    comparison = compare_runs(runs / "1", runs / str(size))
    assert not comparison.refused
    record = json.loads((runs / "1" / "results.json").read_text())
    assert {task.task for task in comparison.tasks} == {row["task"] for row in record["results"]}
    assert all(line.startswith("batch_sizes.") for line in comparison.setup)
    for task in comparison.tasks:
        assert task.n
        assert not task.unscored
        assert not task.flips, task.flips
        for value in task.outputs:
            if value.kind == "number":
                assert value.relative <= 1e-5, value
            elif value.kind == "text":
                assert value.equal == value.n, value
            else:  # a latent that stands between two steps of 255 is rounded to either
                assert value.largest <= 1, value


def direct(checkpoint, context, scored):
    """−log p of each token of `scored`, from one forward pass over one row."""
    ids = [*context, *scored]
    batch = pack(
        [[[TextSegment(ids=ids)]]],
        length=len(ids),
        pad=0,
        grid_tokens=TINY.latent_tokens,
        channels=TINY.latent_channels,
    )
    with torch.inference_mode():
        hidden = checkpoint.model.hidden(batch, batch.latents_ITC)
        logp = checkpoint.model.text_head(hidden[0]).log_softmax(-1)
    first = len(context)
    return [-float(logp[at - 1, ids[at]]) for at in range(first, len(ids))]


@pytest.mark.parametrize(("window", "overlap"), [(256, 0), (64, 0), (64, 40), (2, 0), (9, 7)])
def test_windows_score_what_a_direct_computation_does(model, checkpoint, window, overlap):
    text = prose(90)
    ids = checkpoint.tokenizer.encode(text)
    expected = direct(checkpoint, [checkpoint.tokenizer.bos], ids[:window])
    while len(expected) < len(ids):
        at = len(expected)
        end = min(len(ids), at + window - overlap)
        expected += direct(checkpoint, ids[end - window - 1 : at], ids[at:end])
    request = replace(document(text, overlap=overlap), max_length=window)
    (score,) = model.score_documents([request])
    assert score.nats == pytest.approx(math.fsum(expected), rel=1e-5)
    assert (score.tokens, score.bytes) == (len(ids), len(text.encode()))


def test_pieces_add_up_to_their_document(model):
    words = prose(40).split(" ")
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    requests = [
        ContinuationRequest(sample_id="p", context="".join(pieces[:at]), continuation=piece)
        for at, piece in enumerate(pieces)
    ]
    scores = model.score_continuations(requests)
    (whole,) = model.score_documents([document("".join(pieces))])
    assert math.fsum(score.nats for score in scores) == pytest.approx(whole.nats, rel=1e-5)
    assert sum(score.tokens for score in scores) == whole.tokens
    assert sum(score.bytes for score in scores) == whole.bytes


def test_the_likeliest_continuation_is_greedy(model, checkpoint):
    tokenizer = checkpoint.tokenizer
    context = "a red ring"
    ids = [tokenizer.bos, *tokenizer.encode(context)]
    likely = {
        letter: direct(checkpoint, ids, tokenizer.encode(letter))[0]
        for letter in map(chr, range(33, 127))
        if len(tokenizer.encode(context + letter)) == len(ids)
    }
    scores = model.score_continuations(
        [ContinuationRequest(sample_id="g", context=context, continuation=x) for x in likely]
    )
    assert [score.nats for score in scores] == pytest.approx(list(likely.values()), rel=1e-5)
    assert sum(score.is_greedy for score in scores) <= 1
    assert not model.score_documents([document(prose(30))])[0].is_greedy


def test_a_context_that_does_not_fit_loses_its_beginning(model):
    end = prose(200)
    requests = [
        ContinuationRequest(sample_id="l", context=start + " " + end, continuation=" a red ring")
        for start in ("one", "quite another")
    ]
    one, other = model.score_continuations(requests)
    assert one.nats == pytest.approx(other.nats, rel=1e-5)
    with pytest.raises(UserError, match="sample l: a continuation of"):
        model.score_continuations([replace(requests[0], continuation=" " + end)])


def test_how_many_windows_go_at_once_changes_nothing(model, monkeypatch):
    requests = [document(prose(words, seed=words)) for words in (400, 3, 90, 250, 40)]
    expected = model.score_documents(requests)
    assert model.score_documents(requests) == expected
    for tokens, logits in ((1, 1), (300, 5000), (700, 2**25)):
        monkeypatch.setattr(unimm, "PASS_TOKENS", tokens)
        monkeypatch.setattr(unimm, "PASS_LOGITS", logits)
        for one, other in zip(model.score_documents(requests), expected, strict=True):
            assert one.nats == pytest.approx(other.nats, rel=1e-5)
            assert replace(one, nats=other.nats) == other


def test_text_without_a_token_scores_nothing(model):
    (score,) = model.score_documents([document("")])
    assert (score.nats, score.tokens, score.bytes) == (0, 0, 0)


def test_a_small_top_p_leaves_only_the_likeliest_token(model):
    greedy, nucleus, free = model.generate_text(
        [
            chat("say", max_new_tokens=20, temperature=temperature, top_p=top_p, seed=3)
            for temperature, top_p in ((0.0, 1.0), (1.0, 1e-6), (1.0, 1.0))
        ]
    )
    assert nucleus == greedy != free


def test_text_ends_at_a_stop_string_or_when_it_is_long_enough(model):
    (whole,) = model.generate_text([chat("say", max_new_tokens=60, temperature=1.0, seed=3)])
    assert len(whole) > 20
    stop = whole[8:10]
    short, stopped, other = model.generate_text(
        [
            chat("say", max_new_tokens=7, temperature=1.0, seed=3),
            chat("say", max_new_tokens=60, temperature=1.0, seed=3, stop=(stop, "never said")),
            chat("say", max_new_tokens=60, temperature=1.0, seed=3, stop=("never said",)),
        ]
    )
    assert whole.startswith(short.rstrip("\ufffd"))  # which may end within a character
    assert 0 < len(short) < len(whole)
    assert stopped == whole[: whole.index(stop)]
    assert other == whole


def test_an_answer_is_one_of_the_choices(model):
    choices = ("1", "10", "100", "a hundred", "a hundred and one", "ünïcode ☃")
    pictures = [Picture(array=noise(32, 32, seed=seed)) for seed in range(12)]
    requests = [chat(picture, "how many?", choices=choices) for picture in pictures]
    answers = model.generate_text(requests)
    assert set(answers) <= set(choices)
    turned = [replace(request, choices=choices[::-1]) for request in requests]
    assert model.generate_text(turned) == answers
    single = [replace(request, choices=("only",)) for request in requests]
    assert set(model.generate_text(single)) == {"only"}


def test_the_choice_is_the_one_that_greedy_decoding_would_take(model, checkpoint):
    tokenizer = checkpoint.tokenizer
    letters = [x for x in "abcdefgh12345" if len(tokenizer.encode(x)) == 1]
    questions = [f"which of {prose(3, seed=seed)}?" for seed in range(10)]
    answers = model.generate_text([chat(text, choices=tuple(letters)) for text in questions])
    for text, answer in zip(questions, answers, strict=True):
        ids = [tokenizer.bos, tokenizer.user, *tokenizer.encode(text), tokenizer.assistant]
        nats = {x: direct(checkpoint, ids, tokenizer.encode(x))[0] for x in letters}
        assert nats[answer] == min(nats.values())


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 200_000), (3000, 2), (31, 33), (500, 700), (32, 32), (64, 33)]
)
def test_a_picture_of_any_size_is_taken(model, shape):
    picture = Picture(array=noise(*shape))
    (answer,) = model.generate_text([chat(picture, "what?", choices=("yes", "no"))])
    assert answer in ("yes", "no")
    (loss,) = model.flow_losses([denoise(picture)])
    assert math.isfinite(loss.loss)


def test_a_picture_may_stand_in_a_file_and_among_others(model, tmp_path):
    array = noise(40, 50)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(array))
    asked = {"choices": ("yes", "no", "red", "blue", "one", "two")}
    held, filed, two = model.generate_text(
        [
            chat(Picture(array=array), "what?", **asked),
            chat(Picture(path=path), "what?", **asked),
            chat(Picture(path=path), "and ", Picture(array=noise(9, 9)), "what?", **asked),
        ]
    )
    assert held == filed
    assert two in asked["choices"]


def test_the_solver_of_a_picture_is_the_one_asked_for(model, checkpoint):
    requests = [image("a red ring", solver=solver) for solver in ("heun", "euler")]
    for request, picture in zip(requests, model.generate_images(requests), strict=True):
        (latents,) = generate_pictures(
            checkpoint.model,
            checkpoint.tokenizer,
            ["a red ring"],
            seeds=[0],
            num_inference_steps=5,
            solver=request.solver,
        )
        expected = checkpoint.files.encoder.decode(latents[None])[0].numpy()
        assert np.abs(picture.astype(int) - expected).max() <= 1


def test_seeds_decide_what_is_painted_and_order_does_not(model):
    requests = [
        image(prompt, seed=seed, guidance_scale=scale, num_inference_steps=steps)
        for prompt in ("a red ring", "three blue squares above a moon")
        for seed, scale, steps in ((0, 3.0, 5), (1, 3.0, 5), (1, 1.0, 5), (1, 3.0, 2))
    ]
    pictures = model.generate_images(requests)
    assert all(p.shape == (32, 32, 3) and p.dtype == np.uint8 for p in pictures)
    assert len({p.tobytes() for p in pictures}) == len(pictures)
    order = random.Random(0).sample(range(len(requests)), len(requests))
    again = model.generate_images([requests[row] for row in order])
    alone = [model.generate_images([requests[row]])[0] for row in order]
    for row, one, other in zip(order, again, alone, strict=True):
        for picture in (one, other):
            assert np.abs(picture.astype(int) - pictures[row]).max() <= 1


def test_seeds_decide_what_is_said_and_order_does_not(model):
    requests = [
        chat(prose(words), max_new_tokens=length, temperature=temperature, seed=seed)
        for words, length, temperature, seed in (
            (3, 12, 0.0, 0), (40, 12, 0.0, 1), (3, 12, 1.0, 0), (3, 12, 1.0, 1), (9, 30, 1.0, 1)
        )
    ] + [chat(prose(5), choices=("yes", "no"))]  # fmt: skip
    answers = model.generate_text(requests)
    assert answers[2] != answers[3]
    assert model.generate_text(requests[::-1]) == answers[::-1]
    assert [model.generate_text([request])[0] for request in requests] == answers
    assert model.generate_text([replace(requests[0], seed=9)]) == answers[:1]  # greedy


def test_flow_losses_depend_on_picture_caption_time_and_seed_alone(model):
    picture = Picture(array=noise(32, 32))
    requests = [
        denoise(picture),
        denoise(picture, u=0.9),
        denoise(picture, seed=1),
        denoise(picture, caption="three blue squares above a moon"),
        denoise(Picture(array=noise(32, 32, seed=1))),
    ]
    losses = model.flow_losses(requests)
    assert len({loss.loss for loss in losses}) == 5
    for request, loss in zip(requests[::-1], model.flow_losses(requests[::-1]), strict=True):
        (alone,) = model.flow_losses([request])
        assert loss.loss == pytest.approx(alone.loss, rel=1e-5)
        assert (loss.t, loss.blank) == (alone.t, pytest.approx(alone.blank, rel=1e-5))
    energy = float((picture.array / 127.5 - 1).astype(np.float32).__pow__(2).mean())
    assert losses[0].blank == pytest.approx(energy / (1 - losses[0].t) ** 2, rel=1e-4)
    assert losses[0].t < losses[1].t


@pytest.mark.parametrize(
    ("ask", "request_"),
    [
        ("generate_text", chat(prose(300), max_new_tokens=5)),
        ("generate_text", chat("short", max_new_tokens=300)),
        ("generate_text", chat(prose(300), choices=("yes", "no"))),
        ("generate_images", image(prose(300))),
        ("flow_losses", denoise(Picture(array=noise(32, 32)), caption=prose(300))),
    ],
)
def test_what_does_not_fit_the_model_is_named(model, ask, request_):
    with pytest.raises(UserError, match=rf"Sample {request_.sample_id} needs [\d,]+ tokens"):
        getattr(model, ask)([request_])


def test_a_long_answer_does_not_take_the_room_of_a_long_question(model):
    question = chat(prose(40), max_new_tokens=3)
    answers = model.generate_text([question, chat("short", max_new_tokens=240)])
    assert answers[:1] == model.generate_text([question])
