"""Which weights a run trains; the others stay as they are, bit for bit."""

from torch import nn

_ADAPTER = ("latent_in", "understood_in")
"""The projections of an encoder's latents: what stands between it and the language model."""


def freeze(model: nn.Module, *, trained: str) -> None:
    """Let gradients flow to what is `trained` alone: `all`, or the `adapter`."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained == "all" or name.split(".")[0] in _ADAPTER)
