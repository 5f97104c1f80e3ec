"""mmdet's Mask2Former checkpoint as weights of transformers' module, converted once:

    python -m unimm_eval.judges.mask2former_mmdet [CHECKPOINT.pth] [--data-dir DIR]

Both libraries build the same network and name its parts differently. Most weights are renamed;
three kinds are changed as well:

* Swin's queries, keys and values are one matrix there and three here, and so are those of the
  decoder's self-attention;
* where Swin merges 2 x 2 patches, mmdet unfolds them channel by channel (channel, row, column) and
  transformers joins whole patches (column, row, channel). The sizes are equal, so the linear map
  and the norm before it must be reordered, and nothing but a comparison would tell;
* `relative_position_index` follows from the window size and is left out.

Names of transformers are those of the hub's checkpoints, which its loader keeps reading.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm_eval.api import UserError
from unimm_eval.data import data_dir, sha256_file
from unimm_eval.judges.mask2former import (
    COCO_CLASSES,
    OFFICIAL_CHECKPOINT,
    VARIANTS,
    Mask2Former,
)
from unimm_eval.judges.weights import FOLDER

if TYPE_CHECKING:
    from torch import Tensor

SHA256_PREFIX = "743b7d99"
"""OpenMMLab ends the names of its files in the first digits of their SHA-256."""

_SWIN = "model.pixel_level_module.encoder"
_BLOCK = rf"{_SWIN}.encoder.layers.\1.blocks.\2"
_PIXELS = "model.pixel_level_module.decoder"
_QUERIES = "model.transformer_module"

_RENAMED: Mapping[str, str] = {
    r"backbone\.patch_embed\.projection\.(\w+)": (
        rf"{_SWIN}.embeddings.patch_embeddings.projection.\1"
    ),
    r"backbone\.patch_embed\.norm\.(\w+)": rf"{_SWIN}.embeddings.norm.\1",
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.norm1\.(\w+)": rf"{_BLOCK}.layernorm_before.\3",
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.norm2\.(\w+)": rf"{_BLOCK}.layernorm_after.\3",
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.relative_position_bias_table": (
        rf"{_BLOCK}.attention.self.relative_position_bias_table"
    ),
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.proj\.(\w+)": (
        rf"{_BLOCK}.attention.output.dense.\3"
    ),
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.0\.0\.(\w+)": (
        rf"{_BLOCK}.intermediate.dense.\3"
    ),
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.ffn\.layers\.1\.(\w+)": rf"{_BLOCK}.output.dense.\3",
    r"backbone\.norm0\.(\w+)": rf"{_SWIN}.hidden_states_norms.stage1.\1",
    r"backbone\.norm1\.(\w+)": rf"{_SWIN}.hidden_states_norms.stage2.\1",
    r"backbone\.norm2\.(\w+)": rf"{_SWIN}.hidden_states_norms.stage3.\1",
    r"backbone\.norm3\.(\w+)": rf"{_SWIN}.hidden_states_norms.stage4.\1",
    # Both lists of input maps go from low to high resolution.
    r"panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.conv\.(\w+)": (
        rf"{_PIXELS}.input_projections.\1.0.\2"
    ),
    r"panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.gn\.(\w+)": (
        rf"{_PIXELS}.input_projections.\1.1.\2"
    ),
    # One level has a lateral connection, so its index and its number count nothing.
    r"panoptic_head\.pixel_decoder\.lateral_convs\.0\.conv\.(\w+)": rf"{_PIXELS}.adapter_1.0.\1",
    r"panoptic_head\.pixel_decoder\.lateral_convs\.0\.gn\.(\w+)": rf"{_PIXELS}.adapter_1.1.\1",
    r"panoptic_head\.pixel_decoder\.output_convs\.0\.conv\.(\w+)": rf"{_PIXELS}.layer_1.0.\1",
    r"panoptic_head\.pixel_decoder\.output_convs\.0\.gn\.(\w+)": rf"{_PIXELS}.layer_1.1.\1",
    r"panoptic_head\.pixel_decoder\.mask_feature\.(\w+)": rf"{_PIXELS}.mask_projection.\1",
    r"panoptic_head\.pixel_decoder\.level_encoding\.weight": rf"{_PIXELS}.level_embed",
    r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)\.attentions\.0\.(\w+)\.(\w+)": (
        rf"{_PIXELS}.encoder.layers.\1.self_attn.\2.\3"
    ),
    r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)\.norms\.0\.(\w+)": (
        rf"{_PIXELS}.encoder.layers.\1.self_attn_layer_norm.\2"
    ),
    r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)\.norms\.1\.(\w+)": (
        rf"{_PIXELS}.encoder.layers.\1.final_layer_norm.\2"
    ),
    r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)\.ffns\.0\.layers\.0\.0\.(\w+)": (
        rf"{_PIXELS}.encoder.layers.\1.fc1.\2"
    ),
    r"panoptic_head\.pixel_decoder\.encoder\.layers\.(\d+)\.ffns\.0\.layers\.1\.(\w+)": (
        rf"{_PIXELS}.encoder.layers.\1.fc2.\2"
    ),
    # A layer of the decoder: cross-attention, norm, self-attention, norm, feed-forward, norm.
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.attentions\.0\.attn\.(.+)": (
        rf"{_QUERIES}.decoder.layers.\1.cross_attn.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.attentions\.1\.attn\.out_proj\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.self_attn.out_proj.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.0\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.cross_attn_layer_norm.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.1\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.self_attn_layer_norm.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.norms\.2\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.final_layer_norm.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.ffns\.0\.layers\.0\.0\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.fc1.\2"
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.ffns\.0\.layers\.1\.(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.fc2.\2"
    ),
    r"panoptic_head\.transformer_decoder\.post_norm\.(\w+)": rf"{_QUERIES}.decoder.layernorm.\1",
    r"panoptic_head\.query_embed\.weight": f"{_QUERIES}.queries_embedder.weight",
    r"panoptic_head\.query_feat\.weight": f"{_QUERIES}.queries_features.weight",
    r"panoptic_head\.level_embed\.weight": f"{_QUERIES}.level_embed.weight",
    r"panoptic_head\.cls_embed\.(\w+)": r"class_predictor.\1",
    # A Sequential with activations between: 0, 2, 4.
    r"panoptic_head\.mask_embed\.0\.(\w+)": (
        rf"{_QUERIES}.decoder.mask_predictor.mask_embedder.0.0.\1"
    ),
    r"panoptic_head\.mask_embed\.2\.(\w+)": (
        rf"{_QUERIES}.decoder.mask_predictor.mask_embedder.1.0.\1"
    ),
    r"panoptic_head\.mask_embed\.4\.(\w+)": (
        rf"{_QUERIES}.decoder.mask_predictor.mask_embedder.2.0.\1"
    ),
}
_SPLIT: Mapping[str, tuple[str, str, str]] = {
    r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.attn\.w_msa\.qkv\.(\w+)": (
        rf"{_BLOCK}.attention.self.query.\3",
        rf"{_BLOCK}.attention.self.key.\3",
        rf"{_BLOCK}.attention.self.value.\3",
    ),
    r"panoptic_head\.transformer_decoder\.layers\.(\d+)\.attentions\.1\.attn\.in_proj_(\w+)": (
        rf"{_QUERIES}.decoder.layers.\1.self_attn.q_proj.\2",
        rf"{_QUERIES}.decoder.layers.\1.self_attn.k_proj.\2",
        rf"{_QUERIES}.decoder.layers.\1.self_attn.v_proj.\2",
    ),
}
_MERGED = r"backbone\.stages\.(\d+)\.downsample\.(\w+)\.(\w+)"
_MERGED_HERE = rf"{_SWIN}.encoder.layers.\1.downsample.\2.\3"
_LEFT_OUT = r"backbone\.stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_index"


def convert_weights(theirs: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Weights by mmdet's names → by those of the hub. Raises UserError listing names that are not
    Mask2Former's with a Swin backbone, so nothing is left over unnoticed."""
    ours: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, weight in theirs.items():
        if (target := _expanded(name, _RENAMED)) is not None:
            ours[target] = weight.contiguous()
        elif (targets := _split_names(name)) is not None:
            ours |= dict(zip(targets, (part.clone() for part in weight.chunk(3)), strict=True))
        elif match := re.fullmatch(_MERGED, name):
            ours[match.expand(_MERGED_HERE)] = reorder_merged(weight)
        elif not re.fullmatch(_LEFT_OUT, name):
            unknown.append(name)
    if unknown:
        raise UserError(
            f"{len(unknown)} weights are not those of mmdet's Mask2Former with a Swin backbone: "
            f"{', '.join(unknown[:5])}",
            fix=f"Give it {OFFICIAL_CHECKPOINT}.",
        )
    return ours


def _expanded(name: str, table: Mapping[str, str]) -> str | None:
    for pattern, target in table.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(target)
    return None


def _split_names(name: str) -> list[str] | None:
    for pattern, targets in _SPLIT.items():
        if match := re.fullmatch(pattern, name):
            return [match.expand(target) for target in targets]
    return None


def reorder_merged(weight: "Tensor") -> "Tensor":
    """[…, 4·channels] in the order (channel, row, column) → (column, row, channel)."""
    *outer, size = weight.shape
    parts = weight.reshape(*outer, size // 4, 2, 2)
    return parts.movedim(-3, -1).transpose(-3, -2).reshape(*outer, size).contiguous()


def official_config() -> Any:
    """What mmdet's configuration says, as transformers' (its decoder counts the first prediction,
    before any layer, as one of ten)."""
    from transformers import Mask2FormerConfig, SwinConfig

    swin: dict[str, Any] = {
        "embed_dim": 96,
        "depths": [2, 2, 18, 2],
        "num_heads": [3, 6, 12, 24],
        "window_size": 7,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    return Mask2FormerConfig(
        backbone_config=SwinConfig(**swin),
        feature_size=256,
        mask_feature_size=256,
        hidden_dim=256,
        encoder_feedforward_dim=1024,
        dim_feedforward=2048,
        encoder_layers=6,
        decoder_layers=10,
        num_attention_heads=8,
        num_queries=100,
        common_stride=4,
        feature_strides=[4, 8, 16, 32],
        id2label=dict(enumerate(COCO_CLASSES)),
        label2id={name: index for index, name in enumerate(COCO_CLASSES)},
    )


def convert(
    source: Path,
    target: Path,
    *,
    config: Callable[[], Any] = official_config,
    sha256_prefix: str = SHA256_PREFIX,
) -> None:
    """Write `model.safetensors` and `config.json` into the new folder `target`, whole or not at
    all, after loading them once. Raises UserError when `source` is not the checkpoint with
    `sha256_prefix`, or holds other weights than `config` asks for."""
    if target.exists():
        raise UserError(f"{target} is there already.", fix="Remove it to convert again.")
    digest = sha256_file(source)
    if not digest.startswith(sha256_prefix):
        raise UserError(
            f"{source} has SHA-256 {digest}; the official checkpoint's begins with "
            f"{sha256_prefix}.",
            fix=f"Fetch {OFFICIAL_CHECKPOINT} again.",
        )
    from safetensors.torch import save_file

    weights = convert_weights(_read(source))
    temporary = target.with_name(f".{target.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        config().save_pretrained(temporary)
        save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        Mask2Former.load(temporary, device="cpu")
        temporary.replace(target)
    except OSError as error:
        raise UserError(
            f"{target} cannot be written: {error.strerror or error}",
            fix="Name a folder that can be written with --data-dir.",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(source: Path) -> Mapping[str, "Tensor"]:
    import pickle

    import torch

    try:
        document = torch.load(source, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{source} cannot be read as a checkpoint of plain tensors: {error}",
            fix=f"Fetch {OFFICIAL_CHECKPOINT} again.",
        ) from error
    state = document.get("state_dict") if isinstance(document, dict) else None
    if not isinstance(state, dict):
        raise UserError(
            f"{source} holds no state_dict, as mmdet's checkpoints do.",
            fix=f"Give it {OFFICIAL_CHECKPOINT}.",
        )
    return state


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m unimm_eval.judges.mask2former_mmdet",
        description="Convert mmdet's Mask2Former checkpoint for transformers, once.",
    )
    parser.add_argument("checkpoint", nargs="?", type=Path, help=OFFICIAL_CHECKPOINT)
    parser.add_argument("--data-dir", type=Path, help="folder of benchmark files")
    given = parser.parse_args(arguments)
    folder = data_dir(given.data_dir)
    source = given.checkpoint or folder / FOLDER / OFFICIAL_CHECKPOINT
    target = VARIANTS["mask2former-official"].weights.place(folder)
    try:
        convert(source, target)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{target} is written.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
