"""Tiny transformers models saved to disk: random weights of real classes, a tokenizer of the
world's language."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from unimm_eval.world import rng_for, sample_document

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
CHAT = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
Architecture = Literal["gpt2", "llama"]


def prose(documents: int, *, first: int = 0) -> str:
    return "\n".join(_texts(first, documents))


def tiny_hub_model(
    folder: Path,
    *,
    architecture: Architecture = "llama",
    length: int = 64,
    begins: bool = False,
    chat: bool = False,
    seed: int = 0,
    **sizes: Any,
) -> Path:
    """Save a model and its tokenizer, which with `begins` puts the token for the beginning before
    every text and with `chat` has a template."""
    tokenizer = _tokenizer(length=length, begins=begins, chat=chat)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config: transformers.PreTrainedConfig
    if architecture == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, **sizes}
        config = transformers.GPT2Config(
            vocab_size=len(tokenizer), n_positions=length, **shape, **ids
        )
    else:
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, **sizes}
        config = transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=length,
            num_attention_heads=4,
            num_key_value_heads=2,
            **shape,
            **ids,
        )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # answers that vary
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(*, length: int, begins: bool, chat: bool) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _texts(0, 50),
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=[PAD, BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=length,
    )
    if chat:
        made.chat_template = CHAT
    return made


def _texts(first: int, count: int) -> Iterator[str]:
    for index in range(first, first + count):
        rng = rng_for(split="train", purpose="tiny hub model", index=index)
        yield sample_document(rng, split="train").text
