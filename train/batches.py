"""The batch of each step, made by worker processes: this rank's rows, packed."""

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unimm_eval.model.sequence import Batch, document_length, pack
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import Skip, SkippedRecords
from unimm_eval.train.data.late import LatePictures, encoded_late, late_pictures
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.rows import RecipeRows
from unimm_eval.train.sourced import source_of


@dataclass(frozen=True, kw_only=True)
class Share:
    """A rank's part of the batch of step `step` (counted from 0): its `rows` of the recipe.

    `documents` names the source of each document of each row; `source_BS` is the number of each
    token's source among `source_names`, one more than the last for padding. `skips` are records
    that would have been in it and are bad, `late` its pictures that are still to be encoded.
    """

    step: int
    rows: list[int]
    batch: Batch
    documents: list[list[str]]
    source_BS: Tensor
    late: LatePictures
    skips: list[Skip]


def source_names(recipe: Recipe) -> list[str]:
    """Sources in an order that all ranks know; last, documents that do not say theirs."""
    return [*sorted({name for stage in recipe.stages for name in stage.mixture}), "unknown"]


class _Shares(Dataset[Share]):
    """Item i is this rank's share of step i."""

    def __init__(self, rows: RecipeRows, mine: range) -> None:
        self.rows, self.mine = rows, mine
        self.names = source_names(rows.recipe)

    def __getitem__(self, step: int) -> Share:
        recipe = self.rows.recipe
        config = recipe.model_config_()
        numbers = [step * recipe.rows + r for r in self.mine]
        read = [self.rows.read(k) for k in numbers]
        rows = [row.documents for row in read]
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
                pad=self.rows.tokenizer.pad,
                grid_tokens=config.latent_tokens,
                channels=config.latent_channels,
                understanding_channels=config.understanding_channels,
            ),
            documents=[[source_of(document) for document in documents] for documents in rows],
            source_BS=torch.from_numpy(source_BS),
            late=late_pictures(rows),
            skips=[skip for row in read for skip in row.skips],
        )


def shares(
    recipe: Recipe,
    tokenizer: Tokenizer,
    folder: Path,
    ranks: Ranks,
    *,
    steps: Sequence[int],
    workers: int,
) -> Iterator[Share]:
    """This rank's shares of `steps`, in order. Records that are left out are logged in the `folder`
    of the run; raises UserError when they are too many."""
    late = encoded_late(recipe.encoder_(), ranks.device)
    rows = RecipeRows(recipe, tokenizer, folder, late=late)
    sizes = {name: source.records for name, source in rows.sources.items()}
    skipped = SkippedRecords(folder, share=recipe.max_bad_records, sizes=sizes)
    if ranks.first:
        skipped.add([skip for source in rows.sources.values() for skip in source.skips])
    mine = range(ranks.rank, recipe.rows, ranks.size)
    loader: DataLoader[Share] = DataLoader(
        _Shares(rows, mine),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,  # rows are open files and closures
        worker_init_fn=_ignore_interrupts,
    )
    for share in loader:
        documents = Counter(name for names in share.documents for name in names)
        skipped.met(share.skips, documents=documents)
        yield share


def first_batch(recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> Batch:
    """All rows of the first step, whatever this rank's are."""
    return _Shares(RecipeRows(recipe, tokenizer, folder), range(recipe.rows))[0].batch


def _ignore_interrupts(_: int) -> None:
    """Workers leave signals to the loop, which finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
