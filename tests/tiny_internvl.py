"""A vision-language checkpoint of a real class with random weights, a few hundred kilobytes."""

import sys
from pathlib import Path

PICTURE, BEGIN, END, VIDEO, PAD, EOS = (
    "<IMG_CONTEXT>",
    "<img>",
    "</img>",
    "<video>",
    "<pad>",
    "<|im_end|>",
)
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>\n{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}assistant: "
)
SIDE, PATCH = 28, 14


def tiny_internvl(folder):
    """Save model, tokenizer and processor to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
        PreTrainedTokenizerFast,
        Qwen2Config,
    )

    special = [PICTURE, BEGIN, END, VIDEO, PAD, EOS]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        ["user assistant what is in the picture"],
        trainers.BpeTrainer(
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        eos_token=EOS,
        extra_special_tokens={
            "start_image_token": BEGIN,
            "end_image_token": END,
            "context_image_token": PICTURE,
            "video_token": VIDEO,
        },
    )
    tokens = (SIDE // PATCH // 2) ** 2
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": [SIDE, SIDE],
            "patch_size": [PATCH, PATCH],
        },
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=2048,
        ).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids(PICTURE),
        image_seq_length=tokens,
    )
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.normal_(std=0.3)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=False),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=tokens,
        chat_template=CHAT,
    ).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    tiny_internvl(Path(sys.argv[1]))
