"""Packed row k of a recipe: a pure function of (recipe, k).

A row is of one declared source, or of the world's. Which one follows from k alone, and so does
which of the source's rows it is: nothing is drawn from a stream that has a position. So a run can
stop after any row, any number of workers and ranks can share the rows, and the state of the data is
how many were read.

Each source has its share of *tokens*: its share of rows is proportional to share / mean tokens of
its rows, which are known, for every length is measured before the first row.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unimm_eval.model.sequence import Document, document_length
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.data.bad import Skip
from unimm_eval.train.data.order import Order
from unimm_eval.train.data.shares import Shares
from unimm_eval.train.data.show import Pictures
from unimm_eval.train.data.sources import open_source, used_sources, with_fingerprints
from unimm_eval.train.mixture import WorldMixture
from unimm_eval.train.recipe import Recipe
from unimm_eval.train.sourced import Sourced

_WORLD = "the world"
_MEASURED_ROWS = 32
_CACHE = "data"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The documents of a row, and the records that should have been in it and are bad."""

    documents: list[Document]
    skips: list[Skip]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What the rows from `first` on are of; `before` counts rows of each source until then."""

    first: int
    sources: list[str]
    shares: Shares
    before: dict[str, int]


class RecipeRows:
    """The rows of a recipe; what is measured of its sources is kept in `recipe.cache`, or in the
    folder of the run."""

    def __init__(
        self, recipe: Recipe, tokenizer: Tokenizer, folder: Path, *, late: bool = False
    ) -> None:
        """With `late`, pictures are left to be encoded (data/late.py). Raises UserError when a
        source cannot be used."""
        recipe = with_fingerprints(recipe)
        self.recipe, self.tokenizer = recipe, tokenizer
        encoder = recipe.encoder_() if late else recipe.load_encoder()
        pictures = Pictures(recipe, encoder, late=late)
        self.world = WorldMixture(recipe, tokenizer, pictures)
        cache = Path(recipe.cache).expanduser() if recipe.cache is not None else folder / _CACHE
        self.sources = {
            name: open_source(recipe, name, tokenizer=tokenizer, pictures=pictures, cache=cache)
            for name in used_sources(recipe)
        }
        self._orders = {
            name: Order(source.rows, seed=recipe.seed, source=name)
            for name, source in self.sources.items()
        }
        self._stages = self._planned() if self.sources else []

    def row(self, k: int) -> list[Document]:
        """The documents of packed row `k`; together at most `recipe.length` tokens."""
        return self.read(k).documents

    def read(self, k: int) -> Row:
        """Packed row `k`, with what had to be left out of it."""
        if not self._stages:
            return Row(documents=self.world.row(k), skips=[])
        stage = next(stage for stage in reversed(self._stages) if stage.first <= k)
        number = stage.shares.source(k - stage.first)
        name = stage.sources[number]
        if name == _WORLD:
            return Row(documents=self.world.row(k), skips=[])
        index = stage.before[name] + stage.shares.before(k - stage.first, number)
        rng = np.random.default_rng(np.random.SeedSequence([self.recipe.seed, 1, k]))
        said = self.recipe.stages[self.recipe.stage(k // self.recipe.rows)]
        documents, skips = self.sources[name].documents(self._orders[name][index], rng, said)
        return Row(documents=[Sourced(one, source=name) for one in documents], skips=skips)

    def epochs(self, k: int) -> dict[str, float]:
        """How often the first `k` rows go through each declared source."""
        if not self._stages:
            return {}
        stage = next(stage for stage in reversed(self._stages) if stage.first <= k)
        return {
            name: self._before(stage, k, name) / source.rows
            for name, source in self.sources.items()
        }

    def _planned(self) -> list[_Stage]:
        stages: list[_Stage] = []
        for number, said in enumerate(self.recipe.stages):
            first = said.from_step * self.recipe.rows
            before = {
                name: self._before(stages[-1], first, name) if stages else 0
                for name in self.sources
            }
            rates = {
                name: share / self._tokens_a_row(name)
                for name, share in said.mixture.items()
                if name in self.sources and share > 0
            }
            if world := sum(share for name, share in said.mixture.items() if name not in rates):
                rates[_WORLD] = world / self._world_tokens(number)
            total = sum(rates.values())
            start = int(np.random.SeedSequence([self.recipe.seed, 4, number]).generate_state(1)[0])
            shares = Shares([rate / total for rate in rates.values()], start=start)
            stages.append(_Stage(first=first, sources=list(rates), shares=shares, before=before))
        return stages

    def _before(self, stage: _Stage, k: int, name: str) -> int:
        """Rows of a source before row `k`, which is in `stage` or ends it."""
        before = stage.before[name]
        if name in stage.sources:
            before += stage.shares.before(k - stage.first, stage.sources.index(name))
        return before

    def _tokens_a_row(self, name: str) -> float:
        return self.sources[name].tokens_a_row(dropout=self.recipe.condition_dropout)

    def _world_tokens(self, stage: int) -> float:
        """Mean tokens of the world's rows of a stage."""
        first = self.recipe.stages[stage].from_step * self.recipe.rows
        rows = [self.world.row(first + i) for i in range(_MEASURED_ROWS)]
        return float(np.mean([sum(map(document_length, documents)) for documents in rows]))
