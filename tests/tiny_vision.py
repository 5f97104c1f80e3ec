"""Tiny vision-language and unified checkpoints of real classes: random weights, real processors."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, BOS, EOS = "<pad>", "<s>", "</s>"
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {% for part in m['content'] %}"
    "{% if part['type'] == 'image' %}PICTURE\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
)
SIDE = 32
"""Pixels of the pictures that the unified ones make."""


def tiny_qwen2_vl(folder: Path, *, seed: int = 0) -> Path:
    """Positions of three axes, and as many tokens a picture as its size has."""
    start, end, picture, video = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video|>"
    tokenizer = _tokenizer(start, end, picture, video)
    ids = tokenizer.convert_tokens_to_ids
    config = transformers.Qwen2VLConfig(
        text_config={
            **_decoder(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [1, 1, 2],
            },
        },
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2},
        image_token_id=ids(picture),
        video_token_id=ids(video),
        vision_start_token_id=ids(start),
        vision_end_token_id=ids(end),
    )
    _save(transformers.Qwen2VLForConditionalGeneration, config, tokenizer, folder, seed=seed)
    size = {"shortest_edge": 28 * 28, "longest_edge": 84 * 84}
    transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT.replace("PICTURE", f"{start}{picture}{end}"),
    ).save_pretrained(folder)
    return folder


def tiny_janus(folder: Path, *, seed: int = 0) -> Path:
    picture, start, end = "<image_placeholder>", "<begin_of_image>", "<end_of_image>"
    tokenizer = _tokenizer(image_token=picture, boi_token=start, eoi_token=end)
    width = 32
    config = transformers.JanusConfig(
        text_config=transformers.LlamaConfig(**_decoder(tokenizer)),
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "projection_dim": width,
            "num_image_tokens": 16,
        },
        vq_config={
            "num_embeddings": 64,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "latent_channels": 32,
            "projection_dim": width,
            "image_token_embed_dim": width,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(picture),
        tie_word_embeddings=False,
    )
    _save(
        transformers.JanusForConditionalGeneration,
        config,
        tokenizer,
        folder,
        seed=seed,
        generation_kwargs={"boi_token_id": tokenizer.convert_tokens_to_ids(start)},
    )
    transformers.JanusProcessor(
        image_processor=transformers.JanusImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        num_image_tokens=16,
        chat_template=CHAT.replace("PICTURE", picture),
    ).save_pretrained(folder)
    return folder


def tiny_emu3(folder: Path, *, seed: int = 0) -> Path:
    visual = [f"<|visual token {index:06d}|>" for index in range(64)]
    named = {
        "image_token": "<image>",
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eof_token": "<|extra_201|>",
    }
    tokenizer = _tokenizer("<|extra_200|>", *visual, **named)
    config = transformers.Emu3Config(
        text_config=_decoder(tokenizer),
        vq_config={
            "codebook_size": 64,
            "base_channels": 32,
            "channel_multiplier": [1, 1, 1, 1],
            "num_res_blocks": 1,
            "hidden_size": 32,
            "attn_resolutions": [3],
            "temporal_downsample_factor": 2,
        },
        vocabulary_map=tokenizer.get_vocab(),
    )
    _save(
        transformers.Emu3ForConditionalGeneration,
        config,
        tokenizer,
        folder,
        seed=seed,
        top_k=2048,
        do_sample=True,
    )
    transformers.Emu3Processor(
        image_processor=transformers.Emu3ImageProcessor(min_pixels=16 * 16, max_pixels=SIDE * SIDE),
        tokenizer=tokenizer,
        chat_template=CHAT.replace("PICTURE", "<image>"),
    ).save_pretrained(folder)
    return folder


def _tokenizer(*special: str, **named: str) -> Any:
    """Of bytes, with the special tokens, those by name also as attributes."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        ["what is in the picture"],
        trainers.BpeTrainer(
            vocab_size=300 + len(special),
            special_tokens=[PAD, BOS, EOS, *special, *named.values()],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        extra_special_tokens=named,
    )


def _decoder(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _save(kind: Any, config: Any, tokenizer: Any, folder: Path, *, seed: int, **how: Any) -> None:
    torch.manual_seed(seed)
    model = kind(config)
    with torch.no_grad():  # answers that vary
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.3)
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **how,
    )
    model.save_pretrained(folder)
