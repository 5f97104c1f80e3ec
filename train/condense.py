"""One feed-forward layer in the place of a mixture of experts: where ablations of a checkpoint
begin.

The layer is as wide as the experts that a token passes in the mixture. It is made of the experts
that weigh most for its tokens, their outputs times the gates that they have on average, so that it
begins near what the mixture did; training does the rest. Everything else of the checkpoint stays.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from unimm_eval.model import flow
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.feedforward import (
    MixtureOfExperts,
    ModalityFeedForward,
    Routing,
    SharedFeedForward,
    SwiGLU,
)
from unimm_eval.model.modality import IMAGE, TEXT
from unimm_eval.model.sequence import Batch
from unimm_eval.model.unified import UnifiedModel


def condensed(config: ModelConfig, kind: Literal["shared", "modality"]) -> ModelConfig:
    """The configuration of a mixture of experts with layers of equal active size instead."""
    return replace(
        config,
        feed_forward=kind,
        hidden_dim=config.top_k * config.expert_dim,
        num_experts=0,
        top_k=0,
        expert_dim=0,
        shared_experts="none",
    )


@torch.no_grad()
def condense(parent: UnifiedModel, child: UnifiedModel, batch: Batch) -> None:
    """Overwrite the weights of `child`, whose configuration is `condensed` of the parent's.

    What the experts weigh is measured on the text and the pictures of `batch`.
    """
    routing = Routing()
    noised = flow.noisy(batch.latents_ITC, batch.noise_ITC, batch.t_I[:, None, None])
    parent.hidden(batch, noised, routing=routing)
    valid_N = batch.valid_BS.flatten()
    modality_N = batch.modality_BS.flatten()
    kept = {k: v for k, v in parent.state_dict().items() if ".feed_forward." not in k}
    child.load_state_dict(kept, strict=False)
    for number, (old, new) in enumerate(
        zip(parent.backbone.blocks, child.backbone.blocks, strict=True)
    ):
        mixture, layer = old.feed_forward, new.feed_forward
        assert isinstance(mixture, MixtureOfExperts)
        gate_NE = _gates(mixture, routing, number, modality_N)
        if isinstance(layer, SharedFeedForward):
            _fill(layer.expert, mixture, gate_NE[valid_N].mean(0))
            continue
        assert isinstance(layer, ModalityFeedForward)
        for modality in (TEXT, IMAGE):
            expert = layer.experts[modality]
            assert isinstance(expert, SwiGLU)
            _fill(expert, mixture, gate_NE[valid_N & (modality_N == modality)].mean(0))


def _gates(mixture: MixtureOfExperts, routing: Routing, layer: int, modality_N: Tensor) -> Tensor:
    """The gate that each token has for each expert, 0 where it does not pass it: [N, experts]."""
    p_NK, chosen_NK = routing.probabilities[layer].topk(mixture.routed_top_k, dim=-1)
    if mixture.routed_top_k > 1:
        p_NK = p_NK / p_NK.sum(-1, keepdim=True)
    gate_NE = p_NK.new_zeros(len(p_NK), mixture.num_experts).scatter_(1, chosen_NK, p_NK)
    if mixture.shared == "modality":
        gate_NE[:, mixture.num_routed :] = torch.nn.functional.one_hot(modality_N, 2).float()
    elif mixture.shared == "global":
        gate_NE[:, mixture.num_routed :] = 1.0
    return gate_NE


def _fill(layer: SwiGLU, mixture: MixtureOfExperts, gate_E: Tensor) -> None:
    """Make `layer` of the experts with the largest mean gates, which keep the sum of all gates."""
    count = layer.gate.out_features // mixture.down_EFD.shape[1]
    gates, experts = gate_E.topk(count)
    gates = gates * gate_E.sum() / gates.sum()
    gate_FD, up_FD = mixture.gate_up_EDF[experts].chunk(2, dim=-1)
    layer.gate.weight.copy_(gate_FD.transpose(1, 2).flatten(0, 1))
    layer.up.weight.copy_(up_FD.transpose(1, 2).flatten(0, 1))
    layer.down.weight.copy_((mixture.down_EFD[experts] * gates[:, None, None]).flatten(0, 1).T)
