"""A context that several continuations share is encoded once, and nothing else changes."""

import math

import pytest
import torch
from tiny_hub import prose, tiny_hub_model

from unimm_eval.adapters import hf, unimm, unimm_scores
from unimm_eval.adapters.hf import HubModel
from unimm_eval.adapters.unimm import UnimmCheckpoint
from unimm_eval.api import ContinuationRequest

OPTIONS = (" one", " a much longer answer, with words", " red", " the", "\n\nno")


def requests(context_words):
    text = prose(9)
    contexts = [" ".join(text.split()[: words + n]) for n, words in enumerate(context_words)]
    return [
        ContinuationRequest(sample_id=f"{n}/{m}", context=context, continuation=option)
        for n, context in enumerate([*contexts, "", "alone "])
        for m, option in enumerate(OPTIONS[:1] if context == "alone " else OPTIONS)
    ]


def passes_of(model):
    """How many tokens each forward pass of a torch module is given."""
    seen = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    return seen, handle


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_transformers_models(tmp_path, monkeypatch, architecture):
    folder = tiny_hub_model(tmp_path, architecture=architecture, length=256)
    model = HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")
    asked = requests([60, 90, 60])
    seen, handle = passes_of(model._model)
    monkeypatch.setattr(hf, "SHARED_TOKENS", math.inf)
    plain = model.score_continuations(asked)
    without = sum(seen)
    seen.clear()
    monkeypatch.setattr(hf, "SHARED_TOKENS", 64)
    shared = model.score_continuations(asked)
    handle.remove()
    assert sum(seen) < 0.5 * without
    _equal(plain, shared)
    monkeypatch.setattr(hf, "PASS_TOKENS", 200)  # a group in several passes
    _equal(plain, model.score_continuations(asked))


def test_checkpoints_of_ours(monkeypatch):
    torch.manual_seed(0)
    model = UnimmCheckpoint.load("demo", device="cpu", dtype="float32")
    asked = requests([40, 70, 40])
    monkeypatch.setattr(unimm_scores, "SHARED_TOKENS", math.inf)
    plain = model.score_continuations(asked)
    monkeypatch.setattr(unimm_scores, "SHARED_TOKENS", 16)
    _equal(plain, model.score_continuations(asked))
    monkeypatch.setattr(unimm, "PASS_TOKENS", 150)
    _equal(plain, model.score_continuations(asked))


def _equal(plain, shared):
    for one, other in zip(plain, shared, strict=True):
        assert one.nats == pytest.approx(other.nats, rel=1e-5, abs=1e-5)
        assert (one.tokens, one.bytes, one.is_greedy) == (
            other.tokens,
            other.bytes,
            other.is_greedy,
        )
