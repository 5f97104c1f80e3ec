"""What an architecture costs: the numbers that `unimm-train info` prints."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.counts import (
    Modality,
    count_parameters,
    flops_per_token,
    mean_visible_keys,
    memory,
)
from unimm_eval.model.presets import PRESET_NAMES, Preset, preset

FLOPS_CONVENTION = (
    "FLOPs of matrix products a token in a row of max_length tokens: forward 2 a weight used + "
    "4 · layers · heads · head_dim · keys for attention, training three times that, nothing "
    "recomputed. `full`: attention to the whole row, no discount for the mask. `masked`: the keys "
    "that the mask leaves on average, in a row of one text, or of pictures alone. A text token "
    "passes the text head, a picture's token the projections of latents."
)


def find_architecture(name: str) -> Preset:
    """The preset of that name, or the architecture of a checkpoint folder or a config.json.

    Raises UserError, listing the presets, for what is neither.
    """
    if name in PRESET_NAMES:
        return preset(name)
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if not path.is_file():
        raise UserError(
            f"{name}: neither a preset nor a config.json nor a checkpoint folder",
            fix=f"Presets: {', '.join(PRESET_NAMES)}",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        fields = values.get("model", values) if isinstance(values, dict) else None
        if not isinstance(fields, dict):
            raise ValueError("not a table of fields")
        config = ModelConfig.from_json(fields)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {error}") from error
    return Preset(name=name, config=config, encoder="", source=str(path))


def describe(architecture: Preset) -> dict[str, Any]:
    """All numbers as plain values: whole weights, FLOPs a token, bytes."""
    config = architecture.config
    counts, bytes_ = count_parameters(config), memory(config)
    return {
        "name": architecture.name,
        "source": architecture.source,
        "encoder": architecture.encoder,
        "config": config.to_json(),
        "parameters": {**asdict(counts), "everything": counts.everything},
        "flops_per_token": {
            "convention": FLOPS_CONVENTION,
            "row_length": config.max_length,
            "text": _flops(config, "text"),
            "image": _flops(config, "image"),
        },
        "memory_bytes": {
            "weights": bytes_.weights,
            "optimizer": bytes_.optimizer,
            "cache_per_1000_tokens": 1000 * bytes_.cache_per_token,
        },
    }


def _flops(config: ModelConfig, modality: Modality) -> dict[str, dict[str, float]]:
    block = 1 if modality == "text" else config.latent_tokens
    keys = {
        "full": float(config.max_length),
        "masked": mean_visible_keys(config.max_length, block=block),
    }
    return {
        step: {
            mask: flops_per_token(
                config, keys=count, modality=modality, training=step == "training"
            )
            for mask, count in keys.items()
        }
        for step in ("forward", "training")
    }
