"""What the routers of a tiny checkpoint choose, against a direct recount of every choice."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from checkpoints import TINY, tiny_checkpoint

from unimm_eval.adapters import unimm
from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import CaptionRequest, DenoiseRequest, DocumentRequest, Picture, UserError
from unimm_eval.model import flow
from unimm_eval.model.checkpoint import load_checkpoint
from unimm_eval.model.feedforward import Routing
from unimm_eval.model.generate import seeded_noise
from unimm_eval.model.sequence import (
    PictureSegment,
    TextSegment,
    caption_document,
    describe_document,
    document_length,
    pack,
)

TEXT, IMAGE = 0, 1
TEXTS = ["a red ring stands below three blue squares", "ünïcode ☃", "", "one two three " * 40]


def shown(seed):
    rng = np.random.default_rng(seed)
    return Picture(array=rng.integers(0, 256, (32, 32, 3), np.uint8))


DOCUMENTS = [
    DocumentRequest(sample_id=f"d{i}", text=text, max_length=48, overlap=7)
    for i, text in enumerate(TEXTS)
]
DENOISE = [
    DenoiseRequest(sample_id=f"g{i}", picture=shown(i), caption=TEXTS[i], u=u, seed=i)
    for i, u in enumerate((0.02, 0.5, 0.97))
]
CAPTIONS = [CaptionRequest(sample_id=f"u{i}", picture=shown(i), caption=TEXTS[i]) for i in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return UnimmCheckpoint.load(str(folder), device="cpu", dtype="auto")


@pytest.fixture(scope="module")
def checkpoint(folder):
    """The same checkpoint without the adapter."""
    return load_checkpoint(folder, device=torch.device("cpu"), dtype=torch.float32)


def together(found):
    """The sum over requests."""
    return replace(found[0], counts=sum(one.counts for one in found))


def recount(checkpoint, document, purpose, *, first=0):
    """(layer, expert, modality, bin, purpose) of every choice, one token after another."""
    batch = pack(
        [[document]],
        length=document_length(document),
        pad=0,
        grid_tokens=TINY.latent_tokens,
        channels=TINY.latent_channels,
    )
    z_ITC = flow.noisy(batch.latents_ITC, batch.noise_ITC, batch.t_I[:, None, None])
    routing = Routing()
    with torch.inference_mode():
        checkpoint.model.hidden(batch, z_ITC, routing=routing)
    cells = Counter()
    for layer, choices in enumerate(routing.choices):
        for at in range(first, len(choices)):
            modality = int(batch.modality_BS[0, at])
            t = float(batch.t_I[0]) if modality == IMAGE else 0.0
            for expert in choices[at].tolist():
                cells[layer, expert, modality, min(int(t * 10), 9), purpose] += 1
    return cells


def noisy_document(checkpoint, request):
    noise = seeded_noise([request.seed], tokens=TINY.latent_tokens, channels=TINY.latent_channels)
    picture = PictureSegment(
        latents=latents(checkpoint, request.picture),
        t=float(flow.shift_time(torch.tensor(request.u), checkpoint.model.alpha)),
        noise=noise[0].numpy(),
    )
    start, middle, _ = caption_document(checkpoint.tokenizer, request.caption, picture)
    return [start, middle]


def latents(checkpoint, picture):
    return checkpoint.files.encoder.encode(torch.from_numpy(np.array(picture.load()))[None])[
        0
    ].numpy()


def expected(checkpoint):
    tokenizer, cells = checkpoint.tokenizer, Counter()
    for request in DOCUMENTS:
        ids = tokenizer.encode(request.text)
        done = 0
        while done < len(ids):
            scored = ids[done : done + (48 if not done else 41)]
            end = done + len(scored)
            context = [tokenizer.bos] if not done else ids[end - 49 : done]
            window = [TextSegment(ids=[*context, *scored])]
            cells += recount(checkpoint, window, 0, first=len(context))
            done += len(scored)
    for request in DENOISE:
        cells += recount(checkpoint, noisy_document(checkpoint, request), 1)
    for request in CAPTIONS:
        picture = PictureSegment(latents=latents(checkpoint, request.picture))
        cells += recount(checkpoint, describe_document(tokenizer, request.caption, picture), 2)
    return cells


def test_every_choice_is_counted_once_where_it_belongs(model, checkpoint):
    result = together(model.routing([*CAPTIONS, *DOCUMENTS, *DENOISE]))
    assert result.modalities == ("text", "image")
    assert result.purposes == ("text", "generation", "understanding")
    assert result.counts.shape == (TINY.num_layers, TINY.num_routed, 2, 10, 3)
    assert result.counts.dtype == np.int64
    cells = expected(checkpoint)
    counts = np.zeros_like(result.counts)
    for cell, count in cells.items():
        counts[cell] = count
    # A router's near tie may fall either way when rows share a batch.
    assert np.abs(result.counts - counts).sum() <= 2
    assert result.counts.sum() == counts.sum()


def test_a_token_adds_top_k_to_each_layer(model, checkpoint):
    result = together(model.routing([*CAPTIONS, *DOCUMENTS, *DENOISE]))
    assert result.top_k == TINY.routed_top_k
    tokens = result.counts.sum(axis=1) // result.top_k
    assert (tokens == tokens[0]).all()
    words = checkpoint.tokenizer.encode
    texts = sum(len(words(request.text)) for request in DOCUMENTS)
    assert tokens[0, TEXT].sum(0).tolist() == [
        texts,
        sum(len(words(request.caption)) + 2 for request in DENOISE),
        sum(len(words(request.caption)) + 4 for request in CAPTIONS),
    ]
    assert tokens[0, IMAGE, :, 0].sum() == 0
    assert tokens[0, IMAGE, 9, 2] == len(CAPTIONS) * TINY.latent_tokens
    assert (tokens[0, IMAGE, :, 1] > 0).sum() == len(DENOISE)
    assert tokens[0, TEXT, 1:].sum() == 0


def test_a_request_is_counted_alike_whatever_it_goes_with(model, monkeypatch):
    requests = [*CAPTIONS, *DOCUMENTS, *DENOISE]
    one_pass = model.routing(requests)
    alone = [model.routing([request])[0] for request in requests]
    monkeypatch.setattr(unimm, "PASS_TOKENS", 100)
    few = model.routing(requests)
    for other in (alone, few):
        for mine, theirs in zip(one_pass, other, strict=True):
            assert np.abs(mine.counts - theirs.counts).sum() <= 2
            assert mine.counts.sum() == theirs.counts.sum()
    assert model.routing([]) == []


def test_the_twin_is_the_one_that_training_exports(model, folder, tmp_path):
    """Equal choices, another identity, and no further twin."""
    from unimm_eval.train.export import export_twin

    requests = [*CAPTIONS, *DOCUMENTS, *DENOISE]
    export_twin(folder, tmp_path / "twin")
    exported = UnimmCheckpoint.load(str(tmp_path / "twin"), device="cpu", dtype="auto")
    twin = model.twin()
    assert twin is model.twin()
    assert twin is twin.twin()
    assert exported is exported.twin()
    assert twin.fingerprint not in (model.fingerprint, exported.fingerprint)
    for mine, theirs, trained in zip(
        twin.routing(requests), exported.routing(requests), model.routing(requests), strict=True
    ):
        assert np.array_equal(mine.counts, theirs.counts)
        assert not mine.counts.any() or not np.array_equal(mine.counts, trained.counts)


def test_nothing_is_kept_of_routing_that_was_not_asked_for(model, monkeypatch):
    made = []
    original = Routing.__init__
    monkeypatch.setattr(
        Routing, "__init__", lambda self, **kw: (made.append(self), original(self, **kw))[1]
    )
    model.flow_losses(DENOISE)
    model.score_documents(DOCUMENTS)
    assert not made
    model.routing(DOCUMENTS)
    assert made


def test_what_does_not_fit_is_named(model):
    long = "one two three " * 200
    for request in (
        DenoiseRequest(sample_id="long", picture=shown(0), caption=long, u=0.5),
        CaptionRequest(sample_id="long", picture=shown(0), caption=long),
    ):
        with pytest.raises(UserError, match=r"Sample long needs [\d,]+ tokens"):
            model.routing([request])
