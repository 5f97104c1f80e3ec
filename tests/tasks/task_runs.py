"""A run of a task in a few lines, and small models that answer deterministically."""

import math
from dataclasses import dataclass, field

from unimm_eval.api import FlowLoss, Item, TextScore, item_seed


@dataclass
class Run:
    """Everything a run made, aligned: one entry an output."""

    samples: list
    outputs: list
    scores: list
    metrics: dict = field(default_factory=dict)


def run_task(task, model, context, *, batch_size=7, seed=0, limit=None):
    """Samples → produce in batches → judge → summarize, as the engine does."""
    task.check()
    samples = list(task.samples())[:limit]
    assert len({sample.id for sample in samples}) == len(samples)
    items = [
        Item(sample=sample, repeat=repeat, seed=item_seed(seed, sample.id, repeat))
        for sample in samples
        for repeat in range(sample.repeats)
    ]
    made = {}
    for start in range(0, len(items), batch_size):
        for output in task.produce(model, items[start : start + batch_size], context):
            made[output.sample_id, output.repeat] = output
    outputs = [made[item.sample.id, item.repeat] for item in items]
    aligned = [item.sample for item in items]
    scores = list(task.judge(aligned, outputs))
    assert [(s.sample_id, s.repeat) for s in scores] == [(o.sample_id, o.repeat) for o in outputs]
    metrics = {metric.name: metric for metric in task.summarize(aligned, scores)}
    assert list(metrics) == [name for name in task.card.metrics if name in metrics]
    return Run(samples=aligned, outputs=outputs, scores=scores, metrics=metrics)


@dataclass
class UniformText:
    """Every one of 256 byte tokens is equally likely; `loss` nats a byte otherwise."""

    loss: float = math.log(256)
    max_length: int = 512
    seen: list = field(default_factory=list)

    def describe(self):
        return {"vocab_size": 256, "max_length": self.max_length}

    def score_documents(self, requests):
        self.seen += requests
        return [self._score(request.text) for request in requests]

    def score_continuations(self, requests):
        return [self._score(request.continuation) for request in requests]

    def _score(self, text):
        size = len(text.encode())
        return TextScore(nats=self.loss * size, tokens=size, bytes=size)


@dataclass
class ConstantFlow:
    """Predicts z0 = 0, or something `better` times as bad."""

    better: float = 1.0
    seen: list = field(default_factory=list)

    def describe(self):
        return {}

    def flow_losses(self, requests):
        self.seen += requests
        return [self._loss(request) for request in requests]

    def _loss(self, request):
        energy = float(((request.picture.load() / 127.5 - 1) ** 2).mean())
        blank = energy / (1 - request.u) ** 2
        return FlowLoss(loss=blank * self.better, t=request.u, blank=blank)
