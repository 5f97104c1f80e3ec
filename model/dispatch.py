"""Experts of other ranks: tokens travel to where their experts are, and back.

The experts of a layer are shared out over a group of P ranks, in order: rank r has the weights of
experts [r·L, (r + 1)·L). Each rank sends the tokens that it assigned to experts of the others, as
many as these are, and gets back what the experts made of them. Shared experts stand behind the
routed ones and see every token: their weights travel instead.

Shapes: N tokens of this rank, D model dimension, K routed experts a token, E experts, L = E / P of
a rank, A = N·K assignments sent, R received.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class ExpertGroup:
    """The ranks that share out the experts of a layer. Raises ValueError where they cannot."""

    def __init__(self, group: dist.ProcessGroup, *, num_experts: int) -> None:
        self.group, self.size, self.rank = group, group.size(), group.rank()
        if num_experts % self.size:
            raise ValueError(f"num_experts: {num_experts} cannot be shared by {self.size} ranks")
        self.num_experts, self.local = num_experts, num_experts // self.size

    # Sizes of messages depend on the data, which a compiler cannot know.
    @torch.compiler.disable
    def dispatch(
        self, x_ND: Tensor, expert_NK: Tensor, compute: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """What the chosen experts make of each token, [N·K, D], in the order of `expert_NK`.

        `compute` is what this rank's experts do: rows sorted by expert and, for each of L experts,
        where its rows end.
        """
        expert_A, order_A = expert_NK.flatten().sort(stable=True)
        sent_PL = torch.bincount(expert_A, minlength=self.num_experts).view(self.size, self.local)
        received_PL = torch.empty_like(sent_PL)
        dist.all_to_all_single(received_PL, sent_PL, group=self.group)
        send, receive = torch.stack((sent_PL.sum(1), received_PL.sum(1))).tolist()
        x_RD = self._exchange(x_ND[order_A // expert_NK.shape[1]], send, receive)
        # They arrive sorted by rank, then by expert; experts compute theirs from all ranks at once.
        expert_R = torch.arange(self.local, device=x_ND.device).repeat(self.size)
        order_R = expert_R.repeat_interleave(received_PL.flatten()).argsort(stable=True)
        end_L = received_PL.sum(0).cumsum(0).int()
        y_RD = torch.empty_like(x_RD).index_copy(0, order_R, compute(x_RD[order_R], end_L))
        y_AD = self._exchange(y_RD, receive, send)
        return torch.empty_like(y_AD).index_copy(0, order_A, y_AD)

    def _exchange(self, x_AD: Tensor, send: list[int], receive: list[int]) -> Tensor:
        exchanged: Tensor = _Exchange.apply(x_AD, send, receive, self.group)
        return exchanged

    @torch.compiler.disable
    def shared(self, weights: Sequence[Tensor], *, first: int) -> list[Tensor]:
        """The experts from number `first` on, whole, of each of `weights` [L, …]."""
        begin = max(first - self.rank * self.local, 0)
        before = max(self.rank * self.local - first, 0)
        whole = []
        for weight in weights:
            own = weight[begin:]
            after = self.num_experts - first - before - len(own)
            zeros = [own.new_zeros((count, *own.shape[1:])) for count in (before, after)]
            whole.append(_Sum.apply(torch.cat((zeros[0], own, zeros[1])), self.group))
        return whole


class _Exchange(torch.autograd.Function):
    """Rows to and from the ranks of a group: `send[p]` to rank p, `receive[p]` from it."""

    @staticmethod
    def forward(
        ctx: Any, x_AD: Tensor, send: list[int], receive: list[int], group: dist.ProcessGroup
    ) -> Tensor:
        ctx.send, ctx.receive, ctx.group = send, receive, group
        return _all_to_all(x_AD, send, receive, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _all_to_all(gradient, ctx.receive, ctx.send, ctx.group), None, None, None


class _Sum(torch.autograd.Function):
    """The sum over a group, in both directions: each rank's loss depends on each rank's part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _summed(gradient, ctx.group), None


def _all_to_all(
    x_AD: Tensor, send: list[int], receive: list[int], group: dist.ProcessGroup
) -> Tensor:
    out = x_AD.new_empty((sum(receive), *x_AD.shape[1:]))
    dist.all_to_all_single(out, x_AD.contiguous(), receive, send, group=group)
    return out


def _summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = x.contiguous().clone()
    dist.all_reduce(total, group=group)
    return total
