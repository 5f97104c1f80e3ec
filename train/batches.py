"""The batch of each step, made by worker processes: this rank's rows, packed."""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unimm_eval.model.sequence import Batch, document_length, pack
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.mixture import WorldMixture
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.sourced import source_of


@dataclass(frozen=True, kw_only=True)
class Share:
    """A rank's part of the batch of step `step` (counted from 0): its `rows` of the recipe.

    `documents` names the source of each document of each row; `source_BS` is the number of each
    token's source among `source_names`, one more than the last for padding.
    """

    step: int
    rows: list[int]
    batch: Batch
    documents: list[list[str]]
    source_BS: Tensor


def source_names(recipe: Recipe) -> list[str]:
    """Sources in an order that all ranks know; last, documents that do not say theirs."""
    return [*sorted({name for stage in recipe.stages for name in stage.mixture}), "unknown"]


class _Shares(Dataset[Share]):
    """Item i is this rank's share of step i."""

    def __init__(self, mixture: WorldMixture, mine: range) -> None:
        self.mixture, self.mine = mixture, mine
        self.names = source_names(mixture.recipe)

    def __getitem__(self, step: int) -> Share:
        recipe = self.mixture.recipe
        config = recipe.model_config_()
        numbers = [step * recipe.rows + r for r in self.mine]
        rows = [self.mixture.row(k) for k in numbers]
        source_BS = np.full((len(rows), recipe.length), len(self.names), dtype=np.int64)
        for row, documents in enumerate(rows):
            at = 0
            for document in documents:
                end = at + document_length(document)
                source_BS[row, at:end] = self.names.index(source_of(document))
                at = end
        return Share(
            step=step,
            rows=numbers,
            batch=pack(
                rows,
                length=recipe.length,
                pad=self.mixture.tokenizer.pad,
                grid_tokens=config.latent_tokens,
                channels=config.latent_channels,
                understanding_channels=config.understanding_channels,
            ),
            documents=[[source_of(document) for document in documents] for documents in rows],
            source_BS=torch.from_numpy(source_BS),
        )


def shares(
    recipe: Recipe, tokenizer: Tokenizer, ranks: Ranks, *, steps: Sequence[int], workers: int
) -> Iterator[Share]:
    """This rank's shares of `steps`, in order."""
    mine = range(ranks.rank, recipe.rows, ranks.size)
    loader: DataLoader[Share] = DataLoader(
        _Shares(WorldMixture(recipe, tokenizer), mine),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_ignore_interrupts,
    )
    return iter(loader)


def first_batch(recipe: Recipe, tokenizer: Tokenizer) -> Batch:
    """All rows of the first step, whatever this rank's are."""
    return _Shares(WorldMixture(recipe, tokenizer), range(recipe.rows))[0].batch


def _ignore_interrupts(_: int) -> None:
    """Workers leave signals to the loop, which finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
