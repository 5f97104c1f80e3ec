"""Our checkpoints as chat models: answers depend on the request alone, pictures are read once."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint

from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import ChatRequest, Picture, PictureError, SampleError, Turn, encode_png
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.generate import Sampling, Session, generate_text
from unimm_eval.model.sequence import PictureSegment, conversation, prompt_document

FREE = {"temperature": 1.0, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def checkpoint(folder):
    """The same checkpoint without the adapter."""
    return load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def model(folder):
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


@pytest.fixture
def looks(monkeypatch):
    """How often each picture was decoded."""
    counts = Counter()
    original = Picture.load
    monkeypatch.setattr(
        Picture, "load", lambda self: (counts.update([self.content()]), original(self))[1]
    )
    return counts


def picture(seed, size=40):
    rng = np.random.default_rng(seed)
    return Picture(array=rng.integers(0, 256, (size, size, 3), np.uint8))


def chat(*parts, **changes):
    return ChatRequest(sample_id="c", parts=parts, **changes)


def simple(checkpoint, request, laid):
    """The answer by a session of one whole document, without the adapter."""
    encoder = checkpoint.files.encoder

    def shown(one):
        pixels = encoder.fit(torch.from_numpy(np.array(one.load())))
        return PictureSegment(latents=encoder.encode(pixels[None])[0].numpy())

    document = prompt_document([part if isinstance(part, list) else shown(part) for part in laid])
    tokenizer, room = checkpoint.tokenizer, request.max_new_tokens
    (ids,) = generate_text(
        Session(checkpoint.model, [document], new_tokens=room, pad=tokenizer.pad),
        tokenizer,
        seeds=[request.seed],
        max_new_tokens=[room],
        sampling=[Sampling(temperature=request.temperature)],
        finished=lambda row, ids: False,
    )
    return tokenizer.decode(ids)


def questions():
    """Thirty about two pictures, one about a third, one about two of them, and two about none."""
    asked = [
        chat(picture(seed), f"what is {word}?", seed=number, **FREE)
        for seed in (1, 2)
        for number, word in enumerate("abcdefghijklmno")
    ]
    asked.append(chat(picture(3), "what?", **FREE))
    asked.append(chat(picture(1), "and ", picture(2), "?", max_new_tokens=7, temperature=1.0))
    return [*asked, chat("say", **FREE), chat("", max_new_tokens=3)]


@pytest.fixture(scope="module")
def expected(checkpoint):
    return [
        simple(checkpoint, one, conversation(checkpoint.tokenizer, [one.parts]))
        for one in questions()
    ]


@pytest.mark.parametrize("size", [1, 3, 16, 34])
def test_answers_are_those_of_whole_documents_whatever_they_are_batched_with(model, expected, size):
    asked = questions()
    answers = []
    for start in range(0, len(asked), size):
        answers += model.generate_text(asked[start : start + size])
    assert answers == expected


def test_a_picture_is_looked_at_once_for_its_questions(model, looks, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(picture(1).array))
    asked = [
        chat(Picture(path=path), f"is it {word}?", choices=("yes", "no"))
        for word in "abcdefghijklmnopqrstuvwxyz"
    ]
    for start in range(0, len(asked), 7):
        model.generate_text(asked[start : start + 7])
    assert list(looks.values()) == [1]


def test_a_picture_that_changed_is_another_picture(model, tmp_path):
    path = tmp_path / "a.png"
    answers = []
    for seed in (1, 2, 1):
        path.write_bytes(encode_png(picture(seed).array))
        answers += model.generate_text([chat(Picture(path=path), "what?", **FREE)])
    assert answers[0] == answers[2] != answers[1]


def test_pictures_stand_where_the_text_says_which_is_which(model, checkpoint):
    parts = ("left: ", picture(1), " right: ", picture(2), " which?")
    request = chat(*parts, **FREE)
    (answer,) = model.generate_text([request])
    tokenizer = checkpoint.tokenizer
    assert answer == simple(checkpoint, request, conversation(tokenizer, [parts]))
    turned = chat(parts[0], parts[3], parts[2], parts[1], parts[4], **FREE)
    assert model.generate_text([turned]) != [answer]
    single = [chat(*order, **FREE) for order in ((picture(1), "what?"), ("what?", picture(1)))]
    assert len(set(model.generate_text(single))) == 1


def test_turns_stand_before_the_question(model, checkpoint):
    tokenizer = checkpoint.tokenizer
    history = (
        Turn(parts=(picture(1), "what color?"), answer="red"),
        Turn(parts=("and this? ", picture(2)), answer="blue"),
    )
    request = chat("which is above?", history=history, **FREE)
    laid = conversation(
        tokenizer, [*(turn.parts for turn in history), request.parts], ["red", "blue"]
    )
    (answer,) = model.generate_text([request])
    assert answer == simple(checkpoint, request, laid)
    other = (history[0], replace(history[1], answer="green"))
    assert model.generate_text([replace(request, history=other)]) != [answer]
    with pytest.raises(ValueError, match="history must be empty"):
        replace(request, template=False)


def test_text_without_a_template_is_continued_and_loses_its_beginning(model, checkpoint):
    tokenizer = checkpoint.tokenizer
    text = "a red ring and three blue squares below a moon"
    request = chat(text, template=False, **FREE)
    laid = [[tokenizer.bos, *tokenizer.encode(text)]]
    assert model.generate_text([request]) == [simple(checkpoint, request, laid)]
    long = " ".join([text] * 30)
    kept = tokenizer.encode(long)[-(TINY.max_length - FREE["max_new_tokens"]) :]
    (answer,) = model.generate_text([chat(long, template=False, **FREE)])
    assert answer == simple(checkpoint, request, [kept])


def test_an_answer_ends_at_the_first_stop_string_however_tokens_divide_it(model):
    request = chat("say", max_new_tokens=60, temperature=1.0, seed=3)
    (whole,) = model.generate_text([request])
    assert len(whole) > 30
    stops = [whole[at : at + length] for length in (1, 2, 3, 5, 9) for at in range(2, 30, 3)]
    stopped = model.generate_text([replace(request, stop=("never", stop)) for stop in stops])
    assert stopped == [whole[: whole.index(stop)] for stop in stops]
    both = replace(request, stop=(whole[20:22], whole[8:12]))
    first = min(whole.index(stop) for stop in both.stop)
    assert model.generate_text([both, replace(request, stop=("",))]) == [whole[:first], whole]


def test_an_answer_without_an_end_is_as_long_as_it_may_be(model, checkpoint, monkeypatch):
    monkeypatch.setattr(model._tokenizer, "control", frozenset())
    room = TINY.max_length - 20
    tokens = []
    original = model._tokenizer.decode
    monkeypatch.setattr(
        model._tokenizer, "decode", lambda ids: (tokens.append(len(ids)), original(ids))[1]
    )
    model.generate_text([chat("say", max_new_tokens=most) for most in (0, 1, 5, room)])
    assert tokens == [0, 1, 5, room]


def test_what_does_not_fit_is_named(model):
    words = "a red ring " * 200
    for request in (
        chat(words, max_new_tokens=5),
        chat("short", max_new_tokens=300),
        chat(picture(1), "short", max_new_tokens=5, history=(Turn(parts=(words,), answer="a"),)),
        chat(*[picture(seed) for seed in range(15)], "which?"),
        chat(words, choices=("yes", "no")),
    ):
        with pytest.raises(SampleError, match=r"Sample c needs [\d,]+ tokens, but tiny has room"):
            model.generate_text([chat("before"), request])
    with pytest.raises(PictureError, match="gone"):
        model.generate_text([chat(Picture(path=Path("gone.png")), "what?")])
