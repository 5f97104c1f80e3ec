"""The transformer: pre-norm blocks of attention and a feed-forward layer.

Shapes: B rows, S tokens a row, D model dimension, N = B·S.
"""

import math

import torch
from torch import Tensor, nn

from unimm_eval.model.attention import Attention, AttentionContext
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.feedforward import MixtureOfExperts, Routing, build_feed_forward


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        self.feed_forward = build_feed_forward(config)

    def forward(
        self, x_BSD: Tensor, context: AttentionContext, modality_N: Tensor, routing: Routing | None
    ) -> Tensor:
        x_BSD = x_BSD + self.attention(self.attention_norm(x_BSD), context, self.layer)
        normed_ND = self.feed_forward_norm(x_BSD).flatten(0, 1)
        return x_BSD + self.feed_forward(normed_ND, modality_N, routing).view_as(x_BSD)


class Backbone(nn.Module):
    """All blocks and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)

    def forward(
        self,
        x_BSD: Tensor,
        context: AttentionContext,
        modality_BS: Tensor,
        routing: Routing | None = None,
    ) -> Tensor:
        """Normed hidden states [B, S, D]. `modality_BS` is 0 for text and 1 for image tokens."""
        modality_N = modality_BS.flatten()
        for block in self.blocks:
            x_BSD = block(x_BSD, context, modality_N, routing)
        return self.norm(x_BSD)


def initialise(module: nn.Module, *, num_layers: int, generator: torch.Generator) -> None:
    """Normal weights of deviation 0.02; those that write to the residual stream are divided by
    √(2·layers), as in GPT-2, so that its variance does not grow with depth."""
    residual = 0.02 / math.sqrt(2 * num_layers)
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            std = residual if name.endswith((".output", ".down")) else 0.02
            nn.init.normal_(child.weight, std=std, generator=generator)
            if isinstance(child, nn.Linear) and child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, MixtureOfExperts):
            nn.init.normal_(child.gate_up_EDF, std=0.02, generator=generator)
            nn.init.normal_(child.down_EFD, std=residual, generator=generator)
        elif isinstance(child, nn.RMSNorm):
            nn.init.ones_(child.weight)
