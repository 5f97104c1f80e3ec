"""Mask2Former by transformers' names and by mmdet's, and CLIP: real classes, tiny weights."""

import json
import re

import torch

from unimm_eval.judges.mask2former import COCO_CLASSES


def tiny_config(*, queries=10, depths=(1, 1, 2, 1)):
    from transformers import Mask2FormerConfig, SwinConfig

    backbone = SwinConfig(
        embed_dim=8,
        depths=list(depths),
        num_heads=[1, 2, 4, 8],
        window_size=7,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        num_queries=queries,
        id2label=dict(enumerate(COCO_CLASSES)),
        label2id={name: index for index, name in enumerate(COCO_CLASSES)},
    )


def tiny_mask2former(*, seed=0, confident=30.0, sees=(), **sizes):
    """A detector whose class probabilities are far apart, so that some pass any threshold; or one
    that sees things of the classes `sees` everywhere."""
    from transformers import Mask2FormerForUniversalSegmentation

    torch.manual_seed(seed)
    model = Mask2FormerForUniversalSegmentation(tiny_config(**sizes)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:  # norms and biases are all ones and zeros at first
                weight.add_(torch.randn_like(weight) * 0.1)
            elif "swin" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
        model.class_predictor.weight.mul_(confident)
        if sees:
            model.class_predictor.weight.zero_()
            model.class_predictor.bias.fill_(-30.0)
            for name in sees:
                model.class_predictor.bias[COCO_CLASSES.index(name)] = 0.0
            predictor = model.model.transformer_module.decoder.mask_predictor
            predictor.mask_embedder.layers[-1].layers[0].weight.mul_(50.0)
    return model


def save_mask2former(folder, **kwargs):
    model = tiny_mask2former(**kwargs)
    model.save_pretrained(folder)
    return model


_SWIN = r"model\.pixel_level_module\.encoder"
_HEAD = "panoptic_head"
_NAMES = [
    (rf"{_SWIN}\.embeddings\.patch_embeddings\.", "backbone.patch_embed."),
    (rf"{_SWIN}\.embeddings\.", "backbone.patch_embed."),
    (rf"{_SWIN}\.encoder\.layers\.(\d)\.downsample\.", r"backbone.stages.\1.downsample."),
    (rf"{_SWIN}\.encoder\.layers\.(\d)\.blocks\.(\d+)\.", r"backbone.stages.\1.blocks.\2."),
    (r"(blocks\.\d+)\.layernorm_before", r"\1.norm1"),
    (r"(blocks\.\d+)\.layernorm_after", r"\1.norm2"),
    (r"\.attention\.self\.relative", ".attn.w_msa.relative"),
    (r"\.attention\.output\.dense", ".attn.w_msa.proj"),
    (r"\.intermediate\.dense", ".ffn.layers.0.0"),
    (r"(blocks\.\d+)\.output\.dense", r"\1.ffn.layers.1"),
    (r"model\.pixel_level_module\.decoder", f"{_HEAD}.pixel_decoder"),
    (r"input_projections\.(\d)\.0", r"input_convs.\1.conv"),
    (r"input_projections\.(\d)\.1", r"input_convs.\1.gn"),
    (r"adapter_1\.0", "lateral_convs.0.conv"),
    (r"adapter_1\.1", "lateral_convs.0.gn"),
    (r"layer_1\.0", "output_convs.0.conv"),
    (r"layer_1\.1", "output_convs.0.gn"),
    (r"mask_projection", "mask_feature"),
    (r"pixel_decoder\.level_embed", "pixel_decoder.level_encoding.weight"),
    (r"(pixel_decoder\.encoder\.layers\.\d)\.self_attn\.", r"\1.attentions.0."),
    (r"(pixel_decoder\.encoder\.layers\.\d)\.self_attn_layer_norm", r"\1.norms.0"),
    (r"(pixel_decoder\.encoder\.layers\.\d)\.final_layer_norm", r"\1.norms.1"),
    (r"(decoder\.layers\.\d)\.cross_attn\.", r"\1.attentions.0.attn."),
    (r"(decoder\.layers\.\d)\.self_attn\.out_proj", r"\1.attentions.1.attn.out_proj"),
    (r"(decoder\.layers\.\d)\.cross_attn_layer_norm", r"\1.norms.0"),
    (r"(decoder\.layers\.\d)\.self_attn_layer_norm", r"\1.norms.1"),
    (r"(decoder\.layers\.\d)\.final_layer_norm", r"\1.norms.2"),
    (r"(layers\.\d)\.fc1", r"\1.ffns.0.layers.0.0"),
    (r"(layers\.\d)\.fc2", r"\1.ffns.0.layers.1"),
    (r".*\.mask_predictor\.mask_embedder\.0\.0", f"{_HEAD}.mask_embed.0"),
    (r".*\.mask_predictor\.mask_embedder\.1\.0", f"{_HEAD}.mask_embed.2"),
    (r".*\.mask_predictor\.mask_embedder\.2\.0", f"{_HEAD}.mask_embed.4"),
    (r"model\.transformer_module\.decoder\.layernorm", f"{_HEAD}.transformer_decoder.post_norm"),
    (r"model\.transformer_module\.decoder", f"{_HEAD}.transformer_decoder"),
    (r"model\.transformer_module\.queries_embedder", f"{_HEAD}.query_embed"),
    (r"model\.transformer_module\.queries_features", f"{_HEAD}.query_feat"),
    (r"model\.transformer_module\.level_embed", f"{_HEAD}.level_embed"),
    (r"^class_predictor", f"{_HEAD}.cls_embed"),
]  # fmt: skip


def as_mmdet(hub):
    """Weights in the hub's names → those mmdet would have of the same network."""
    theirs = {}
    for name, weight in hub.items():
        if name.startswith("criterion") or ".encoder.swin.layernorm" in name:
            continue
        if match := re.match(r"(.*)\.attention\.self\.(query|key|value)\.(\w+)$", name):
            block, part, kind = match.groups()
            if part == "query":
                parts = [
                    hub[f"{block}.attention.self.{p}.{kind}"] for p in ("query", "key", "value")
                ]
                theirs[_renamed(f"{block}.attn.w_msa.qkv.{kind}")] = torch.cat(parts)
        elif match := re.match(r"(.*transformer.*self_attn)\.([qkv])_proj\.(\w+)$", name):
            layer, part, kind = match.groups()
            if part == "q":
                parts = [hub[f"{layer}.{p}_proj.{kind}"] for p in "qkv"]
                target = layer.replace("self_attn", "attentions.1.attn")
                theirs[_renamed(f"{target}.in_proj_{kind}")] = torch.cat(parts)
        elif match := re.match(r"(.*)\.hidden_states_norms\.stage(\d)\.(\w+)$", name):
            theirs[f"backbone.norm{int(match[2]) - 1}.{match[3]}"] = weight
        elif ".downsample." in name:
            *outer, size = weight.shape
            parts = weight.reshape(*outer, 2, 2, size // 4)  # column, row, channel
            theirs[_renamed(name)] = torch.einsum("...xyc->...cyx", parts).reshape(*outer, size)
        else:
            theirs[_renamed(name)] = weight
    return theirs


def _renamed(name):
    for pattern, target in _NAMES:
        name = re.sub(pattern, target, name)
    return name


def save_clip(folder, *, seed=0, quick_gelu=True):
    """CLIP of a few channels with its own open_clip_config.json, as open_clip saves it."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "embed_dim": 16,
        "quick_gelu": quick_gelu,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {"vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    document = {"model_cfg": config, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    torch.manual_seed(seed)
    model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model
