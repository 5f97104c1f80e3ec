"""Feed-forward layers: one for all tokens, one per modality, or a mixture of experts.

Shapes: N tokens, D model dimension, F hidden dimension, E experts, A = N·active assignments of a
token to an expert, sorted by expert. Modality 0 is text, 1 is image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.modality import Modalities, PerModality


@dataclass(kw_only=True)
class Routing:
    """What the routers did in one forward pass; a layer appends when it is given one.

    `choices[l]` int64 [N, k] routed experts of layer l, `probabilities[l]` fp32 [N, routed].
    """

    choices: list[Tensor] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)

    def balance_loss(
        self, valid_N: Tensor, *, total: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Auxiliary load-balancing loss, averaged over layers: experts · Σ_e share_e · p_e.

        share_e is the fraction of choices that fell on e and p_e the mean router probability, over
        `valid_N` tokens (bool). 1 when balanced. Switch Transformer, eq. 4–6. Where `total` sums a
        tensor over the ranks of a data-parallel step, shares and counts are those of all ranks and
        the losses of the ranks add up to that of the whole batch.
        """
        total = total or (lambda values: values)
        weight_N = valid_N.float()
        count = total(weight_N.sum()).clamp(min=1)
        losses = []
        for choice_NK, p_NE in zip(self.choices, self.probabilities, strict=True):
            chosen_NE = torch.zeros_like(p_NE).scatter_(1, choice_NK, 1.0)
            share_E = total((chosen_NE * weight_N[:, None]).sum(0)) / (count * choice_NK.shape[1])
            mean_E = (p_NE * weight_N[:, None]).sum(0) / count
            losses.append(p_NE.shape[1] * (share_E * mean_E).sum())
        return torch.stack(losses).mean()


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)), no biases."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, hidden_dim, bias=False)
        self.up = nn.Linear(dim, hidden_dim, bias=False)
        self.down = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x_ND: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x_ND)) * self.up(x_ND))


class SharedFeedForward(nn.Module):
    """One feed-forward layer for every token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.expert = SwiGLU(config.dim, config.hidden_dim)

    def forward(self, x_ND: Tensor, modalities: Modalities, routing: Routing | None) -> Tensor:
        return self.expert(x_ND)


class ModalityFeedForward(PerModality):
    """One feed-forward layer for text and one for images (paper §2.2, appendix C)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(lambda: SwiGLU(config.dim, config.hidden_dim))

    def forward(
        self, x_ND: Tensor, modalities: Modalities, routing: Routing | None = None
    ) -> Tensor:
        return super().forward(x_ND, modalities)


class MixtureOfExperts(nn.Module):
    """Top-k routed experts and, by choice, one shared expert for all or one per modality.

    The router works in fp32: softmax over routed experts, top-k, the k gates renormalised to sum to
    one. A single gate stays the router's probability, as in Switch Transformer: renormalised it
    would be one, and the loss would teach the router nothing. A shared expert is always active with
    gate 1. Shared experts stand behind the routed ones in the weight tensors, so that one grouped
    matrix product computes all of them (paper §6.1).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_routed, self.routed_top_k = config.num_routed, config.routed_top_k
        self.num_experts = config.num_experts
        self.shared = config.shared_experts
        self.router = nn.Linear(config.dim, config.num_routed, bias=False)
        self.gate_up_EDF = nn.Parameter(
            torch.empty(config.num_experts, config.dim, 2 * config.expert_dim)
        )
        self.down_EFD = nn.Parameter(torch.empty(config.num_experts, config.expert_dim, config.dim))

    def forward(self, x_ND: Tensor, modalities: Modalities, routing: Routing | None) -> Tensor:
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NE = F.linear(x_ND.float(), self.router.weight.float())
            p_NE = logits_NE.softmax(-1)
            gate_NK, expert_NK = p_NE.topk(self.routed_top_k, dim=-1)
            if self.routed_top_k > 1:
                gate_NK = gate_NK / gate_NK.sum(-1, keepdim=True)
        if routing is not None:
            routing.choices.append(expert_NK)
            routing.probabilities.append(p_NE)
        if self.shared != "none":
            modality_N = modalities.of_N
            offset_N = modality_N if self.shared == "modality" else torch.zeros_like(modality_N)
            expert_NK = torch.cat((expert_NK, (self.num_routed + offset_N)[:, None]), dim=1)
            gate_NK = torch.cat((gate_NK, torch.ones_like(gate_NK[:, :1])), dim=1)
        return self._experts(x_ND, expert_NK, gate_NK.to(x_ND.dtype))

    def _experts(self, x_ND: Tensor, expert_NK: Tensor, gate_NK: Tensor) -> Tensor:
        """Sum of the chosen experts' outputs, each times its gate."""
        expert_A, order_A = expert_NK.flatten().sort(stable=True)
        token_A = order_A // expert_NK.shape[1]
        # One past each expert's last row. The last is A, so grouped_mm leaves no row unwritten.
        index_E = torch.arange(self.num_experts, device=x_ND.device)
        end_E = torch.searchsorted(expert_A, index_E, right=True, out_int32=True)
        hidden_AF = F.grouped_mm(x_ND[token_A], self.gate_up_EDF, offs=end_E)
        gate_AF, up_AF = hidden_AF.chunk(2, dim=-1)
        y_AD = F.grouped_mm(F.silu(gate_AF) * up_AF, self.down_EFD, offs=end_E)
        y_AD = y_AD * gate_NK.flatten()[order_A, None]
        return torch.zeros_like(x_ND).index_add(0, token_A, y_AD)


def build_feed_forward(config: ModelConfig) -> nn.Module:
    """The layer that `config.feed_forward` names: (x_ND, modalities, routing) → y_ND."""
    kinds = {"shared": SharedFeedForward, "modality": ModalityFeedForward, "moe": MixtureOfExperts}
    return kinds[config.feed_forward](config)
