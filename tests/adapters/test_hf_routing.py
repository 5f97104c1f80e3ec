"""Choices of transformers' own mixtures, against the router logits that transformers returns."""

import numpy as np
import pytest
import torch
import transformers
from tiny_hub import prose, tiny_hub_model

from unimm_eval.adapters.hf import HubModel
from unimm_eval.api import (
    CaptionRequest,
    DocumentRequest,
    Picture,
    SampleError,
    UserError,
    capabilities_of,
)
from unimm_eval.engine.evaluate import evaluate

EXPERTS, TOP_K, LAYERS = 6, 2, 2
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 64,
}
MIXTURES = {
    "mixtral": {"intermediate_size": 32, "num_local_experts": EXPERTS},
    "olmoe": {"intermediate_size": 32, "num_experts": EXPERTS},
    "qwen2_moe": {
        "num_experts": EXPERTS,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "intermediate_size": 32,
    },
}


def tiny_mixture(folder, kind):
    """A mixture with the tokenizer of a tiny model."""
    tiny_hub_model(folder, length=64)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPE,
        **MIXTURES[kind],
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)
    return folder


def load(folder):
    return HubModel.load(f"hf:{folder}", device="cpu", dtype="auto")


def documents(texts, *, max_length=4096):
    return [
        DocumentRequest(sample_id=str(i), text=text, max_length=max_length)
        for i, text in enumerate(texts)
    ]


@pytest.mark.parametrize("kind", MIXTURES)
def test_choices_are_those_of_the_router_logits(tmp_path, kind):
    folder = tiny_mixture(tmp_path / kind, kind)
    model = load(folder)
    texts = ["one short text", prose(1)[:60], "é"]
    found = model.routing(documents(texts))
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, counts in zip(texts, found, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) < 63
        given = torch.tensor([[tokenizer.bos_token_id, *ids]])
        with torch.inference_mode():
            logits = plain(given, output_router_logits=True).router_logits
        assert counts.counts.shape == (LAYERS, EXPERTS, 1, 1, 1)
        assert counts.top_k == TOP_K
        for layer, logits_NE in enumerate(logits):
            chosen = logits_NE.topk(TOP_K, dim=-1).indices[1:]
            expected = np.bincount(chosen.flatten().numpy(), minlength=EXPERTS)
            assert counts.counts[layer, :, 0, 0, 0].tolist() == expected.tolist()


def test_every_token_of_a_long_text_is_counted_once(tmp_path):
    model = load(tiny_mixture(tmp_path / "m", "mixtral"))
    texts = [prose(3), "", "x"]
    for length in (16, 4096):
        found = model.routing(documents(texts, max_length=length))
        for text, counts in zip(texts, found, strict=True):
            tokens = len(model._tokens.encode([text])[0])
            assert (counts.counts.sum(axis=1) == tokens * TOP_K).all()
    assert model.routing([]) == []


def test_what_it_can_do_is_known_before_it_is_loaded(tmp_path):
    mixture, dense = tiny_mixture(tmp_path / "m", "olmoe"), tiny_hub_model(tmp_path / "d")
    for folder in (mixture, dense):
        assert HubModel.capabilities_for(f"hf:{folder}") == capabilities_of(load(folder))
    assert "ExposesRouting" in HubModel.capabilities_for(f"hf:{mixture}")
    assert "ExposesRouting" not in HubModel.capabilities_for(f"hf:{dense}")


def test_pictures_are_refused(tmp_path):
    model = load(tiny_mixture(tmp_path / "m", "mixtral"))
    picture = Picture(array=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(SampleError, match="reads text alone"):
        model.routing([CaptionRequest(sample_id="c", picture=picture, caption="a")])


def test_the_language_part_of_the_task(tmp_path):
    """`experts:text` on a mixture; `experts` needs pictures and says so before anything is read of
    the weights, and a dense model has no routers."""
    mixture = tiny_mixture(tmp_path / "m", "qwen2_moe")
    dense = tiny_hub_model(tmp_path / "d")
    path = tmp_path / "text.txt"
    path.write_text(prose(12))
    settings = {"experts:text": {"text_path": str(path), "bootstrap_resamples": 20}}
    record = evaluate(f"hf:{mixture}", "experts:text", output=tmp_path / "run", settings=settings)
    entropy = record.get("experts:text")
    assert entropy.metric == "entropy"
    assert 0 < entropy.value <= 1
    assert entropy.facts["layers"] == LAYERS
    assert entropy.facts["routed_experts"] == EXPERTS
    assert (tmp_path / "run" / "exports" / "experts:text" / "experts.csv").is_file()
    with pytest.raises(UserError, match="cannot run experts: it lacks DenoisesImages"):
        evaluate(f"hf:{mixture}", "experts", output=tmp_path / "no")
    with pytest.raises(UserError, match="cannot run experts:text: it lacks ExposesRouting"):
        evaluate(f"hf:{dense}", "experts:text", output=tmp_path / "no", settings=settings)
