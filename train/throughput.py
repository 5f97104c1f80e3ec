"""How much of a device's peak a step uses (MFU), by the convention of model/counts.py."""

import torch

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.counts import flops_per_token

PEAK_FLOPS = {
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
}
"""Dense bf16 FLOP/s by what the device's name contains, the longest names first; as the makers'
data sheets give them."""


def peak_flops(device: torch.device) -> float | None:
    """Of one device; None where it is not known, as of every CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)


def training_flops(config: ModelConfig, *, length: int, tokens: int, image_tokens: int) -> float:
    """FLOPs of a step in rows of `length` tokens: attention without causal discount, nothing
    recomputed; padding does not count."""
    text = flops_per_token(config, keys=length, modality="text")
    image = flops_per_token(config, keys=length, modality="image")
    return (tokens - image_tokens) * text + image_tokens * image
