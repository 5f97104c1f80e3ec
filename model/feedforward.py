"""Feed-forward layers: one for all tokens, one per modality, or a mixture of experts.

Shapes: N tokens, D model dimension, F hidden dimension, E experts, K chosen of them, A = N·K
assignments of a token to an expert, sorted by expert; L layers. Modality 0 is text, 1 is image.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.dispatch import ExpertGroup
from unimm_eval.model.modality import Modalities, PerModality


@dataclass(kw_only=True)
class Routing:
    """What the routers did in one forward pass; a layer appends when it is given one.

    `choices[l]` int64 [N, k] routed experts of layer l, `probabilities[l]` fp32 [N, routed].
    """

    choices: list[Tensor] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)

    def load(self, valid_N: Tensor, *, total: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """How many choices of `valid_N` tokens (bool) fell on each expert, fp32 [L, E]; `total`
        sums a tensor over the ranks of a data-parallel step."""
        weight_N = valid_N.float()
        chosen = [
            torch.zeros_like(p_NE).scatter_(1, choice_NK, 1.0) * weight_N[:, None]
            for choice_NK, p_NE in zip(self.choices, self.probabilities, strict=True)
        ]
        load_LE = torch.stack([chosen_NE.sum(0) for chosen_NE in chosen]).detach()
        return load_LE if total is None else total(load_LE)

    def balance_loss(self, valid_N: Tensor, *, load_LE: Tensor | None = None) -> Tensor:
        """Auxiliary load-balancing loss, averaged over layers: experts · Σ_e share_e · p_e.

        share_e is the fraction of choices that fell on e and p_e the mean router probability, over
        `valid_N` tokens (bool). 1 when balanced. Switch Transformer, eq. 4–6. With the `load_LE` of
        all ranks of a data-parallel step, shares and counts are theirs and the losses of the ranks
        add up to that of the whole batch.
        """
        load_LE = self.load(valid_N) if load_LE is None else load_LE
        chosen_L1 = load_LE.sum(1, keepdim=True).clamp(min=1)
        weight_N = valid_N.float()
        sum_LE = torch.stack([(p_NE * weight_N[:, None]).sum(0) for p_NE in self.probabilities])
        share_LE, mean_LE = load_LE / chosen_L1, sum_LE * self.choices[0].shape[1] / chosen_L1
        return (load_LE.shape[1] * (share_LE * mean_LE).sum(1)).mean()


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


class Router(nn.Linear):
    """Logits in fp32, whatever the tokens are in."""

    def forward(self, x_ND: Tensor) -> Tensor:
        return F.linear(x_ND.float(), self.weight.float())


class MixtureOfExperts(nn.Module):
    """Top-k routed experts and, by choice, one shared expert for all or one per modality.

    The router works in fp32: softmax over routed experts, top-k, the k gates renormalised to sum to
    one. A single gate stays the router's probability, as in Switch Transformer: renormalised it
    would be one, and the loss would teach the router nothing. A shared expert is always active with
    gate 1. Shared experts stand behind the routed ones in the weight tensors, so that one grouped
    matrix product computes all of them (paper §6.1).

    With a `group` this rank has the weights of its experts alone, as DTensors, and tokens travel.
    """

    group: ExpertGroup | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_routed, self.routed_top_k = config.num_routed, config.routed_top_k
        self.num_experts = config.num_experts
        self.shared = config.shared_experts
        self.router = Router(config.dim, config.num_routed, bias=False)
        self.gate_up_EDF = nn.Parameter(
            torch.empty(config.num_experts, config.dim, 2 * config.expert_dim)
        )
        self.down_EFD = nn.Parameter(torch.empty(config.num_experts, config.expert_dim, config.dim))

    def forward(self, x_ND: Tensor, modalities: Modalities, routing: Routing | None) -> Tensor:
        with torch.autocast(x_ND.device.type, enabled=False):
            p_NE = self.router(x_ND).softmax(-1)
            gate_NK, expert_NK = p_NE.topk(self.routed_top_k, dim=-1)
            if self.routed_top_k > 1:
                gate_NK = gate_NK / gate_NK.sum(-1, keepdim=True)
        if routing is not None:
            routing.choices.append(expert_NK)
            routing.probabilities.append(p_NE)
        gate_NK = gate_NK.to(x_ND.dtype)
        if self.group is not None:
            return self._experts_of_a_group(x_ND, expert_NK, gate_NK, modalities, self.group)
        if self.shared != "none":
            shared_N1 = self.num_routed + self._shared_of(modalities)
            expert_NK = torch.cat((expert_NK, shared_N1), dim=1)
            gate_NK = torch.cat((gate_NK, torch.ones_like(gate_NK[:, :1])), dim=1)
        return _mixed(x_ND, expert_NK, gate_NK, self.gate_up_EDF, self.down_EFD)

    def _shared_of(self, modalities: Modalities) -> Tensor:
        """Which of the shared experts is each token's, [N, 1]."""
        of_N1 = modalities.of_N[:, None]
        return of_N1 if self.shared == "modality" else torch.zeros_like(of_N1)

    def _experts_of_a_group(
        self,
        x_ND: Tensor,
        expert_NK: Tensor,
        gate_NK: Tensor,
        modalities: Modalities,
        group: ExpertGroup,
    ) -> Tensor:
        gate_up_LDF, down_LFD = _local(self.gate_up_EDF), _local(self.down_EFD)
        y_AD = group.dispatch(
            x_ND, expert_NK, lambda x_RD, end_L: _experts(x_RD, end_L, gate_up_LDF, down_LFD)
        )
        y_ND = (y_AD.view(*expert_NK.shape, -1) * gate_NK[..., None]).sum(1)
        if self.shared != "none":
            shared = group.shared((gate_up_LDF, down_LFD), first=self.num_routed)
            gate_N1 = torch.ones_like(gate_NK[:, :1])
            y_ND = y_ND + _mixed(x_ND, self._shared_of(modalities), gate_N1, *shared)
        return y_ND


def _mixed(
    x_ND: Tensor, expert_NK: Tensor, gate_NK: Tensor, gate_up_EDF: Tensor, down_EFD: Tensor
) -> Tensor:
    """Sum of the chosen experts' outputs, each times its gate."""
    expert_A, order_A = expert_NK.flatten().sort(stable=True)
    token_A = order_A // expert_NK.shape[1]
    # One past each expert's last row. The last is A, so grouped_mm leaves no row unwritten.
    index_E = torch.arange(len(gate_up_EDF), device=x_ND.device)
    end_E = torch.searchsorted(expert_A, index_E, right=True, out_int32=True)
    y_AD = _experts(x_ND[token_A], end_E, gate_up_EDF, down_EFD)
    y_AD = y_AD * gate_NK.flatten()[order_A, None]
    return torch.zeros_like(x_ND).index_add(0, token_A, y_AD)


def _experts(x_AD: Tensor, end_E: Tensor, gate_up_EDF: Tensor, down_EFD: Tensor) -> Tensor:
    """What each expert makes of its rows, which end at `end_E`."""
    gate_AF, up_AF = F.grouped_mm(x_AD, gate_up_EDF, offs=end_E).chunk(2, dim=-1)
    return F.grouped_mm(F.silu(gate_AF) * up_AF, down_EFD, offs=end_E)


def _local(weight: Tensor) -> Tensor:
    """This rank's part of a DTensor."""
    local: Tensor = weight.to_local()  # type: ignore[attr-defined]
    return local


def build_feed_forward(config: ModelConfig) -> nn.Module:
    """The layer that `config.feed_forward` names: (x_ND, modalities, routing) → y_ND."""
    kinds = {"shared": SharedFeedForward, "modality": ModalityFeedForward, "moe": MixtureOfExperts}
    return kinds[config.feed_forward](config)
