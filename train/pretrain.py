"""Pretraining on one machine: train, save, go on exactly.

A run is a folder: recipe.yaml, tokenizer.json, log.jsonl (a line a step) and the newest states.
The same command starts it and continues it; a continued run computes the losses of one that was
never stopped.
"""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.model.allocator import keep_freed_memory
from unimm_eval.model.sequence import Batch, pack
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.log import StepLog, TrainingLog, read_log
from unimm_eval.train.loss_weights import loss_weights
from unimm_eval.train.mixture import WorldMixture, tokenizer_texts
from unimm_eval.train.optimizer import MasterWeights, learning_rate
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.parent import copy_tokenizer, load_weights, with_fingerprint
from unimm_eval.train.recipe import Recipe, save_recipe
from unimm_eval.train.state import load_state, save_state

TOKENIZER_DOCUMENTS = 4000
TOKENIZER_SEED = 0
RECIPE = "recipe.yaml"


class _Steps(Dataset[Batch]):
    """Item i is this rank's share of the batch of step i."""

    def __init__(self, mixture: WorldMixture, ranks: Ranks) -> None:
        self.mixture = mixture
        self.mine = range(ranks.rank, mixture.recipe.rows, ranks.size)

    def __getitem__(self, step: int) -> Batch:
        recipe = self.mixture.recipe
        rows = [self.mixture.row(step * recipe.rows + r) for r in self.mine]
        return pack(
            rows,
            length=recipe.length,
            pad=self.mixture.tokenizer.pad,
            grid_tokens=recipe.model_config_().latent_tokens,
            channels=recipe.model_config_().latent_channels,
            understanding_channels=recipe.model_config_().understanding_channels,
        )


class Pretraining:
    """One run of a recipe in a folder."""

    def __init__(self, recipe: Recipe, folder: Path, *, workers: int = 1) -> None:
        recipe = with_fingerprint(recipe.with_weights())
        self.recipe, self.folder, self.workers = recipe, folder, workers
        self.ranks = Ranks()
        if recipe.rows % self.ranks.size:
            raise UserError(f"rows: {recipe.rows} rows cannot be shared by {self.ranks.size} ranks")
        folder.mkdir(parents=True, exist_ok=True)
        if self.ranks.first:
            save_recipe(folder / RECIPE, recipe)
        self.tokenizer = self._tokenizer()
        config = recipe.model_config_()
        if self.tokenizer.vocab_size > config.vocab_size:
            raise UserError(
                f"the tokenizer has {self.tokenizer.vocab_size} tokens, "
                f"the model {config.vocab_size}",
                fix="Set model.vocab_size in the recipe.",
            )
        state = load_state(folder, identity=recipe.identity)
        self.model = UnifiedModel(config).initialise(seed=recipe.seed)
        if state is None and recipe.parent is not None:
            load_weights(recipe, self.model, lambda: self._steps()[0])
        self.optimizer = MasterWeights(self.model, recipe.optimizer)
        self.weights = loss_weights(recipe)
        self.model.cast(getattr(torch, recipe.dtype))
        self.step = 0
        self.warnings: list[str] = []
        if state is not None:
            self.step, tensors, damaged = state
            self.warnings = [f"{what}; going on from step {self.step}" for what in damaged]
            self.optimizer.load_state(tensors)
            self.weights.load_state(tensors)
        else:
            self.optimizer.write_back()

    def _tokenizer(self) -> Tokenizer:
        """The parent's, a copy of LLaMA-3's, or one learned from the world; made once a run."""
        path, recipe = self.folder / "tokenizer.json", self.recipe
        if self.ranks.first and not path.exists():
            vocab_size = recipe.model_config_().vocab_size
            if recipe.parent is not None:
                copy_tokenizer(recipe, path)
            elif recipe.tokenizer is not None:
                try:
                    Tokenizer.copy_of(recipe.tokenizer, vocab_size=vocab_size).save(path)
                except ValueError as error:
                    raise UserError(f"tokenizer: {error}") from error
            else:
                texts = tokenizer_texts(TOKENIZER_SEED, TOKENIZER_DOCUMENTS)
                Tokenizer.train(iter(texts), vocab_size=vocab_size).save(path)
        self.ranks.wait()
        return Tokenizer.load(path)

    def run(
        self, *, until: int | None = None, on_step: Callable[[StepLog], None] | None = None
    ) -> None:
        """Train to `until` (default: the recipe's last step), saving as the recipe says.

        SIGTERM or SIGINT finishes the step, saves and raises IncompleteError. A loss that is not
        finite stops the run with the last good state in place.
        """
        keep_freed_memory()
        stop_at = min(until or self.recipe.steps, self.recipe.steps)
        log = TrainingLog(self.folder, step=self.step) if self.ranks.first else None
        with _signals() as signals, contextlib.closing(log) if log else contextlib.nullcontext():
            for batch in self._batches(stop_at):
                entry = self._train_step(batch)
                stopping = self.ranks.any(bool(signals))
                if log is not None:
                    log.write(entry)
                    if on_step is not None:
                        on_step(entry)
                    if self.step % self.recipe.save_every == 0 or stopping or self.step == stop_at:
                        log.flush()
                        self.save()
                if stopping:
                    raise IncompleteError(
                        f"stopped after step {self.step}; the state is saved",
                        fix="Give the same command to go on.",
                    )

    def save(self) -> None:
        """Write the state. Raises IncompleteError, the last good state in place, when it cannot."""
        save_state(
            self.folder,
            step=self.step,
            tensors={**self.optimizer.state(), **self.weights.state()},
            identity=self.recipe.identity(self.step),
        )

    def tokens_seen(self) -> int:
        """Tokens of all steps so far, from the log."""
        entries = read_log(self.folder)
        return sum(entry["tokens"] for entry in entries if entry["step"] <= self.step)

    def _steps(self) -> _Steps:
        return _Steps(WorldMixture(self.recipe, self.tokenizer), self.ranks)

    def _batches(self, stop_at: int) -> Iterator[Batch]:
        loader: DataLoader[Batch] = DataLoader(
            self._steps(),
            batch_size=None,
            sampler=range(self.step, stop_at),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_ignore_interrupts,
        )
        return iter(loader)

    def _train_step(self, batch: Batch) -> StepLog:
        begin = time.perf_counter()
        recipe = self.recipe
        losses = self.model.losses(
            batch, with_balance=recipe.balance_weight > 0, total=self.ranks.sum
        )
        counts = torch.stack(
            [
                count.double()
                for count in (losses.text_count, losses.flow_count, batch.valid_BS.sum())
            ]
        )
        text_count, flow_count, tokens = self.ranks.sum(counts)
        text = losses.text_sum / text_count.clamp(min=1).float()
        flow = losses.flow_sum / flow_count.clamp(min=1).float()
        means = self.ranks.sum(torch.stack((text, flow, losses.balance)))
        if not math.isfinite(float(means.sum())):
            raise UserError(
                f"step {self.step}: the loss is not finite (text {float(means[0])}, "
                f"flow {float(means[1])})",
                fix="Lower the learning rate, or continue from an earlier state.",
            )
        text_weight, flow_weight = self.weights.step(
            text=float(means[0]), flow=float(means[1]), stage=recipe.stages[recipe.stage(self.step)]
        )
        total = text_weight * text + flow_weight * flow + recipe.balance_weight * losses.balance
        total.backward()
        rate = learning_rate(self.step, steps=recipe.steps, recipe=recipe.optimizer)
        norm = self.optimizer.step(rate, self.ranks)
        self.step += 1
        return StepLog(
            step=self.step,
            text_loss=float(means[0]),
            flow_loss=float(means[1]),
            text_weight=text_weight,
            flow_weight=flow_weight,
            balance=float(means[2]),
            grad_norm=float(norm),
            learning_rate=rate,
            tokens=int(tokens),
            seconds=time.perf_counter() - begin,
        )


def _ignore_interrupts(_: int) -> None:
    """Workers leave signals to the loop, which finishes its step first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda got, _: received.append(got)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
