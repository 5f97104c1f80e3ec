"""What a step came to over all ranks: losses by modality and by source, tokens, load of experts.

All sums travel in one message before the backward pass, since each loss is divided by a count of
all ranks.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unimm_eval.model.modality import IMAGE
from unimm_eval.model.unified import Losses
from unimm_eval.train.batches import Share
from unimm_eval.train.parallel import Ranks

_OF_SOURCE = 5
"""Numbers of a source: nats, their weight, flow loss, pictures, tokens."""


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over all ranks. `sources` are of those that the batch had something of."""

    text_sum: float
    text_count: float
    flow_sum: float
    flow_count: float
    balance: float
    tokens: int
    image_tokens: int
    sources: dict[str, dict[str, Any]]
    experts: dict[str, list[float]] | None

    @property
    def text(self) -> float:
        """Mean nats a token, 0 without text."""
        return self.text_sum / self.text_count if self.text_count else 0.0

    @property
    def flow(self) -> float:
        """Mean flow loss a picture, 0 without pictures."""
        return self.flow_sum / self.flow_count if self.flow_count else 0.0

    @property
    def finite(self) -> bool:
        return math.isfinite(self.text_sum + self.flow_sum + self.balance)


def totals_of(losses: Losses, share: Share, *, names: list[str], ranks: Ranks) -> Totals:
    """Add up what the ranks computed."""
    batch, terms = share.batch, losses.terms
    images = batch.valid_BS & (batch.modality_BS == IMAGE)
    parts = (losses.text_sum, losses.text_count, losses.flow_sum, losses.flow_count, losses.balance)
    counts = (batch.valid_BS.sum(), images.sum())
    fixed = torch.stack([value.detach().double() for value in (*parts, *counts)])
    sums = ranks.sum(torch.cat((fixed, _by_source(losses, share, len(names)).flatten())))
    numbers = sums.tolist()
    head, rows = numbers[: len(fixed)], torch.tensor(numbers[len(fixed) :]).view(-1, _OF_SOURCE)
    sources = {
        name: _source(*row) for name, row in zip(names, rows.tolist(), strict=True) if row[-1]
    }
    return Totals(
        text_sum=head[0],
        text_count=head[1],
        flow_sum=head[2],
        flow_count=head[3],
        balance=head[4],
        tokens=int(head[5]),
        image_tokens=int(head[6]),
        sources=sources,
        experts=None if terms.load_LE is None else load_summary(terms.load_LE),
    )


def _by_source(losses: Losses, share: Share, count: int) -> Tensor:
    """fp64 [sources, numbers]: this rank's."""
    batch, terms = share.batch, losses.terms
    source_N = share.source_BS.to(batch.tokens_BS.device).flatten()
    text_M = source_N[terms.target_M]
    picture_I = source_N[batch.index_IT[terms.picture_I, 0]]
    table = torch.zeros(count + 1, _OF_SOURCE, dtype=torch.float64, device=source_N.device)
    columns = (
        (text_M, terms.nats_M * terms.weight_M),
        (text_M, terms.weight_M),
        (picture_I, terms.error_I),
        (picture_I, torch.ones_like(terms.error_I)),
        (source_N, batch.valid_BS.flatten()),
    )
    for column, (index, values) in enumerate(columns):
        table[:, column].index_add_(0, index, values.double())
    return table[:count]


def _source(
    nats: float, weight: float, flow: float, pictures: float, tokens: float
) -> dict[str, Any]:
    of_source: dict[str, Any] = {"tokens": int(tokens)}
    if weight:
        of_source["text_loss"] = nats / weight
    if pictures:
        of_source["flow_loss"] = flow / pictures
    return of_source


def load_summary(load_LE: Tensor) -> dict[str, list[float]]:
    """How evenly tokens choose experts, a number a layer: the busiest expert's load over the mean,
    the entropy of the loads over its maximum (1 when balanced), and how many had no token."""
    share_LE = load_LE.double() / load_LE.double().sum(1, keepdim=True).clamp(min=1)
    experts = share_LE.shape[1]
    entropy_L = -torch.xlogy(share_LE, share_LE).sum(1) / math.log(max(experts, 2))
    columns = ((share_LE.amax(1) * experts), entropy_L, (share_LE == 0).sum(1).double())
    busiest, entropy, dead = torch.stack(columns).tolist()
    return {
        "max_over_mean": [round(value, 4) for value in busiest],
        "entropy": [round(value, 4) for value in entropy],
        "dead": [int(value) for value in dead],
    }
