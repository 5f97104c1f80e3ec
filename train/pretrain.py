"""Pretraining: train, save, go on exactly, on one process or many.

A run is a folder: recipe.yaml, tokenizer.json, log.jsonl (a line a step) and the newest states.
The same command starts it and continues it; a continued run computes the losses of one that was
never stopped, however many processes it then has and however the model is laid over them.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.model.allocator import keep_freed_memory
from unimm_eval.model.encoders import Encoder
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.train.batches import Share, first_batch, shares, source_names
from unimm_eval.train.data.late import encoded_late, with_latents
from unimm_eval.train.data.sources import with_fingerprints
from unimm_eval.train.guard import SPIKE_THRESHOLD, WINDOW, LossGuard, stop
from unimm_eval.train.log import StepLog, TrainingLog, read_log
from unimm_eval.train.loss_weights import loss_weights
from unimm_eval.train.mixture import tokenizer_texts
from unimm_eval.train.optimizer import MasterWeights, learning_rate
from unimm_eval.train.parallel import Ranks
from unimm_eval.train.parallelize import Layout, build_model
from unimm_eval.train.parent import copy_tokenizer, load_weights, with_fingerprint
from unimm_eval.train.recipe import Recipe, save_recipe
from unimm_eval.train.state import States
from unimm_eval.train.throughput import peak_flops, training_flops
from unimm_eval.train.totals import Totals, totals_of
from unimm_eval.train.trained import freeze

TOKENIZER_DOCUMENTS = 4000
TOKENIZER_SEED = 0
RECIPE = "recipe.yaml"


class Evaluates(Protocol):
    """Measures a run every so many steps (see evaluation.py)."""

    @property
    def every(self) -> int: ...

    def __call__(self, run: "Pretraining") -> dict[str, Any]:
        """What is to stand in the log. All ranks call it."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What a command wants to see and to be told of a run; none of it changes the weights.

    `on_step` hears of each step, on the first rank. `peak` is a device's FLOP/s, for the MFU, where
    the device's name does not tell. A loss stops the run that leaps more than `spike_threshold`
    deviations (guard.py).
    """

    on_step: Callable[[StepLog], None] | None = None
    evaluate: Evaluates | None = None
    peak: float | None = None
    spike_threshold: float = SPIKE_THRESHOLD


class Pretraining:
    """One run of a recipe in a folder.

    `layout` says how the model is laid over devices, `keep` how many states stay, `asynchronous`
    whether they are written while training goes on.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        workers: int = 1,
        layout: Layout | None = None,
        device: str = "auto",
        keep: int = 2,
        asynchronous: bool = False,
    ) -> None:
        recipe = with_fingerprints(with_fingerprint(recipe.with_weights()))
        layout = layout or Layout()
        self.recipe, self.folder, self.workers = recipe, folder, workers
        self.ranks = Ranks(device)
        if recipe.rows % self.ranks.size:
            raise UserError(f"rows: {recipe.rows} rows cannot be shared by {self.ranks.size} ranks")
        config = recipe.model_config_()
        layout.check(config, self.ranks)
        folder.mkdir(parents=True, exist_ok=True)
        if self.ranks.first:
            save_recipe(folder / RECIPE, recipe)
        self.tokenizer = self._tokenizer()
        if self.tokenizer.vocab_size > config.vocab_size:
            raise UserError(
                f"the tokenizer has {self.tokenizer.vocab_size} tokens, "
                f"the model {config.vocab_size}",
                fix="Set model.vocab_size in the recipe.",
            )
        dtype = getattr(torch, recipe.dtype)
        self.model = build_model(config, layout, self.ranks, dtype=dtype, seed=recipe.seed)
        freeze(self.model, trained=recipe.trained)
        self.optimizer = MasterWeights(self.model, recipe.optimizer, ema=recipe.ema)
        self.weights = loss_weights(recipe)
        self.states = States(folder, self.ranks, keep=keep, asynchronous=asynchronous)
        self.step = 0
        self.warnings: list[str] = []
        state = self.states.load(self.optimizer.state(), identity=recipe.identity)
        if state is not None:
            self.step = state.step
            self.warnings = [f"{what}; going on from step {state.step}" for what in state.warnings]
            self.weights.load_state(state.values)
        elif recipe.parent is not None:
            load_weights(recipe, self.model, lambda: first_batch(recipe, self.tokenizer, folder))
            self.optimizer.restart_average()
        if not layout.fsdp:
            self.model.cast(dtype)
        self.optimizer.loaded(updates=0 if state is None else int(state.values["updates"]))

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
        self,
        *,
        until: int | None = None,
        on_step: Callable[[StepLog], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Train to `until` (default: the recipe's last step), saving as the recipe says.

        SIGTERM or SIGINT finishes the step, saves and raises IncompleteError. A loss that is not
        finite or leaps stops the run with the last good state in place and the batch beside it.
        """
        watch = watch or Watch(on_step=on_step)
        keep_freed_memory()
        stop_at = min(until or self.recipe.steps, self.recipe.steps)
        steps = [s for s in range(self.step, stop_at) if s + 1 not in self.recipe.skip_steps]
        loop = _Loop(self, watch)
        log = TrainingLog(self.folder, step=self.step) if self.ranks.first else None
        with _signals() as signals, contextlib.closing(log) if log else contextlib.nullcontext():
            for share in shares(
                self.recipe,
                self.tokenizer,
                self.folder,
                self.ranks,
                steps=steps,
                workers=self.workers,
            ):
                entry = loop.step(share)
                stopping = self.ranks.any(bool(signals))
                if log is not None:
                    log.write(entry)
                    if watch.on_step is not None:
                        watch.on_step(entry)
                if self.step % self.recipe.save_every == 0 or stopping or share.step == steps[-1]:
                    if log is not None:
                        log.flush()
                    self.save()
                if stopping:
                    self.states.wait()
                    raise IncompleteError(
                        f"stopped after step {self.step}; the state is saved",
                        fix="Give the same command to go on.",
                    )
            self.states.wait()

    def save(self) -> None:
        """Write the state. Raises IncompleteError, the last good state in place, when it cannot."""
        self.states.save(
            step=self.step,
            tensors=self.optimizer.state(),
            values={"updates": self.optimizer.updates, **self.weights.state()},
            identity=self.recipe.identity(self.step),
        )

    def tokens_seen(self) -> int:
        """Tokens of all steps so far, from the log."""
        entries = read_log(self.folder)
        return sum(entry["tokens"] for entry in entries if entry["step"] <= self.step)


class _Loop:
    """The steps of one call of `run`."""

    def __init__(self, run: Pretraining, watch: Watch) -> None:
        self.training, self.watch = run, watch
        self.names = source_names(run.recipe)
        self.config = run.recipe.model_config_()
        peak = watch.peak or peak_flops(run.ranks.device)
        self.peak = None if peak is None else peak * run.ranks.size
        self.encoder: Encoder | None = None
        if encoded_late(run.recipe.encoder_(), run.ranks.device):
            dtype = getattr(torch, run.recipe.dtype)
            self.encoder = run.recipe.load_encoder(device=run.ranks.device, dtype=dtype)
        self.guard = LossGuard(threshold=watch.spike_threshold)
        self.stage = run.recipe.stage(max(run.step - 1, 0))
        self.progress: dict[str, int] = {}
        self._remember()

    def _remember(self) -> None:
        """What the log says of the steps so far, which the first rank reads for all."""
        run = self.training
        progress: dict[str, int] = {}
        losses: list[dict[str, float]] = []
        if run.ranks.first:
            begin = run.recipe.stages[self.stage].from_step
            entries = [entry for entry in read_log(run.folder) if entry["step"] <= run.step]
            for entry in entries:
                for name, source in entry.get("sources", {}).items():
                    progress[name] = progress.get(name, 0) + source["tokens"]
            losses = [
                {"text": entry["text_loss"], "flow": entry["flow_loss"]}
                for entry in entries[-WINDOW:]
                if entry["step"] > begin
            ]
        self.progress, losses = run.ranks.gather((progress, losses))[0]
        self.guard.replay(losses)

    def step(self, share: Share) -> StepLog:
        """Train on one batch; all that is logged of it."""
        begin = time.perf_counter()
        run, recipe = self.training, self.training.recipe
        stage = recipe.stage(share.step)
        if stage != self.stage:
            self.stage = stage
            self.guard.forget()
        batch = share.batch.to(run.ranks.device)
        if self.encoder is not None:
            batch = with_latents(batch, share.late, self.encoder)
        share = Share(**{**vars(share), "batch": batch})
        losses = run.model.losses(
            batch, with_balance=recipe.balance_weight > 0, total=run.ranks.sum
        )
        totals = totals_of(losses, share, names=self.names, ranks=run.ranks)
        self._check(share, totals)
        text_weight, flow_weight = run.weights.step(
            text=totals.text, flow=totals.flow, stage=recipe.stages[stage]
        )
        text = losses.text_sum / max(totals.text_count, 1.0)
        flow = losses.flow_sum / max(totals.flow_count, 1.0)
        total = text_weight * text + flow_weight * flow + recipe.balance_weight * losses.balance
        total.backward()
        rate = learning_rate(share.step, steps=recipe.steps, recipe=recipe.optimizer)
        norm = float(run.optimizer.step(rate, run.ranks))
        if not norm < float("inf"):
            self._stop(share, totals, f"the gradient is not finite (norm {norm})")
        run.step = share.step + 1
        for name, source in totals.sources.items():
            self.progress[name] = self.progress.get(name, 0) + source["tokens"]
        seconds = time.perf_counter() - begin
        evaluate = self.watch.evaluate
        due = evaluate is not None and run.step % evaluate.every == 0
        flops = training_flops(
            self.config,
            length=recipe.length,
            tokens=totals.tokens,
            image_tokens=totals.image_tokens,
        )
        return StepLog(
            step=run.step,
            text_loss=totals.text,
            flow_loss=totals.flow,
            text_weight=text_weight,
            flow_weight=flow_weight,
            balance=totals.balance,
            grad_norm=norm,
            learning_rate=rate,
            tokens=totals.tokens,
            image_tokens=totals.image_tokens,
            seconds=seconds,
            tokens_per_second=totals.tokens / seconds,
            mfu=None if self.peak is None else flops / seconds / self.peak,
            sources=totals.sources,
            progress=dict(self.progress),
            experts=totals.experts,
            evaluation=evaluate(run) if evaluate is not None and due else None,
        )

    def _check(self, share: Share, totals: Totals) -> None:
        losses = {"text": totals.text, "flow": totals.flow}
        what = self.guard.verdict(losses) or ("" if totals.finite else "the loss is not finite")
        if what:
            self._stop(share, totals, what)

    def _stop(self, share: Share, totals: Totals, what: str) -> None:
        self.training.states.wait()
        numbers = {"text_loss": totals.text, "flow_loss": totals.flow, "losses": totals.sources}
        stop(self.training.folder, share, what, numbers=numbers, ranks=self.training.ranks)


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
