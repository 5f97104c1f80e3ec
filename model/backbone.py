"""The transformer: pre-norm blocks of attention and a feed-forward layer.

With config.attention="modality" norms, the last one too, are of each modality's own like the
projections of attention: the Mixture-of-Transformers separates all parameters but the embeddings.

Shapes: B rows, S tokens a row, D model dimension, N = B·S.
"""

import math

import torch
from torch import Tensor, nn

from unimm_eval.model.attention import Attention, AttentionContext
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.feedforward import MixtureOfExperts, Routing, build_feed_forward
from unimm_eval.model.modality import Modalities, PerModality, apply, build
from unimm_eval.model.shards import normal_


def build_norm(config: ModelConfig) -> nn.Module:
    return build(config.attention, lambda: nn.RMSNorm(config.dim, eps=config.norm_eps))


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention_norm = build_norm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = build_norm(config)
        self.feed_forward = build_feed_forward(config)

    def forward(
        self,
        x_BSD: Tensor,
        context: AttentionContext,
        modalities: Modalities,
        with_routing: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Tokens, and what the router chose and thought (see Routing) where that is asked for.

        Returned rather than appended to a list, so that a block can be computed again in the
        backward pass, or be compiled.
        """
        routing = Routing() if with_routing else None
        normed_BSD = apply(self.attention_norm, x_BSD, modalities)
        x_BSD = x_BSD + self.attention(normed_BSD, context, modalities, self.layer)
        normed_ND = apply(self.feed_forward_norm, x_BSD, modalities).flatten(0, 1)
        x_BSD = x_BSD + self.feed_forward(normed_ND, modalities, routing).view_as(x_BSD)
        if routing is None or not routing.choices:
            return x_BSD, None, None
        return x_BSD, routing.choices[0], routing.probabilities[0]


class Backbone(nn.Module):
    """All blocks and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = build_norm(config)
        self.apart = any(isinstance(module, PerModality) for module in self.modules())

    def forward(
        self,
        x_BSD: Tensor,
        context: AttentionContext,
        modality_BS: Tensor,
        routing: Routing | None = None,
    ) -> Tensor:
        """Normed hidden states [B, S, D]. `modality_BS` is 0 for text and 1 for image tokens."""
        modality_N = modality_BS.flatten()
        modalities = Modalities.apart(modality_N) if self.apart else Modalities(of_N=modality_N)
        for block in self.blocks:
            x_BSD, choice_NK, p_NE = block(x_BSD, context, modalities, routing is not None)
            if routing is not None and choice_NK is not None:
                routing.choices.append(choice_NK)
                routing.probabilities.append(p_NE)
        return apply(self.norm, x_BSD, modalities)


def initialise(module: nn.Module, *, num_layers: int, generator: torch.Generator) -> None:
    """Normal weights of deviation 0.02; those that write to the residual stream are divided by
    √(2·layers), as in GPT-2, so that its variance does not grow with depth."""
    residual = 0.02 / math.sqrt(2 * num_layers)
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            std = residual if {"output", "down"} & set(name.split(".")) else 0.02
            normal_(child.weight, std=std, generator=generator)
            if isinstance(child, nn.Linear) and child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, MixtureOfExperts):
            normal_(child.gate_up_EDF, std=0.02, generator=generator)
            normal_(child.down_EFD, std=residual, generator=generator)
        elif isinstance(child, nn.RMSNorm):
            nn.init.ones_(child.weight)
