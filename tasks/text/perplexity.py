"""Perplexity and bits per byte of documents, from the model's own numbers."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from unimm_eval import stats
from unimm_eval.api import DocumentRequest, Item, Metric, Output, Sample, Score, UserError


def produce_scores(
    model: Any,
    items: Sequence[Item],
    *,
    text_of: Callable[[Sample], str],
    window: int,
    overlap: int,
) -> Iterator[Output]:
    """−log p of each document, in windows of at most `window` tokens and what the model allows.

    A model says what it allows as `max_length` in `describe()`, and its number of tokens (what
    chance depends on) as `vocab_size`. Raises UserError when `overlap` fills the windows.
    """
    facts = model.describe()
    length = min(window, int(facts.get("max_length") or window))
    if overlap >= length:
        raise UserError(
            f"An overlap of {overlap} leaves nothing to score in windows of {length} tokens.",
            fix=f"Set overlap to {length - 1} or less.",
        )
    requests = [
        DocumentRequest(
            sample_id=item.sample.id,
            repeat=item.repeat,
            seed=item.seed,
            text=text_of(item.sample),
            max_length=length,
            overlap=overlap,
        )
        for item in items
    ]
    for item, score in zip(items, model.score_documents(requests), strict=True):
        yield Output(
            sample_id=item.sample.id,
            repeat=item.repeat,
            values={
                "nats": score.nats,
                "tokens": score.tokens,
                "bytes": score.bytes,
                "window": length,
                "overlap": overlap,
                "vocab_size": facts.get("vocab_size"),
            },
        )


def judge_scores(
    samples: Sequence[Sample],
    outputs: Sequence[Output],
    *,
    truth_of: Callable[[Sample], float] | None = None,
) -> Iterator[Score]:
    """The model's numbers as they are; `truth_of` adds the true −log p of a document."""
    for sample, output in zip(samples, outputs, strict=True):
        ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
        if output.error is not None:
            yield Score(**ids, unscored=output.error)
            continue
        values = {name: float(output.values[name]) for name in ("nats", "tokens", "bytes")}
        if not math.isfinite(values["nats"]) or values["tokens"] < 1 or values["bytes"] < 1:
            yield Score(**ids, unscored="the model gave this document no finite likelihood")
            continue
        if truth_of is not None:
            values["true_nats"] = truth_of(sample)
        payload = {name: output.values.get(name) for name in ("window", "overlap", "vocab_size")}
        yield Score(**ids, values=values, payload=payload)


class Corpus:
    """Aligned samples and scores of a corpus, as columns, without the unscored ones."""

    def __init__(self, samples: Sequence[Sample], scores: Sequence[Score]) -> None:
        pairs = list(zip(samples, scores, strict=True))
        kept = [(sample, score) for sample, score in pairs if score.unscored is None]
        self.samples = [sample for sample, _ in kept]
        self.scores = [score for _, score in kept]
        self.clusters = [sample.cluster for sample in self.samples]
        self.unscored = len(pairs) - len(kept)
        sizes = {score.payload["vocab_size"] for score in self.scores}
        self.vocab_size: int | None = sizes.pop() if len(sizes) == 1 else None

    def column(self, name: str) -> list[float]:
        return [score.values[name] for score in self.scores]

    def facts(self) -> Mapping[str, Any]:
        """How much text, and how many tokens a byte of it costs this model."""
        tokens, length = sum(self.column("tokens")), sum(self.column("bytes"))
        return {
            "tokens": int(tokens),
            "bytes": int(length),
            "bytes_per_token": length / tokens,
            "window": max(score.payload["window"] for score in self.scores),
            "overlap": max(score.payload["overlap"] or 0 for score in self.scores),
            "documents": len(self.scores),
        }

    def by_source(self) -> dict[str, Any]:
        """Bits per byte of each `source` that the documents name; nothing where there is but one.

        `by_source` holds the numbers alone, `sources` a row each with its interval over documents.
        """
        rows: dict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(self.samples):
            rows[str(sample.inputs.get("source", ""))].append(index)
        if len(rows) < 2:
            return {}
        found = []
        for source in sorted(rows):
            scores = [self.scores[index] for index in rows[source]]
            estimate = stats.ratio(
                [score.values["nats"] / math.log(2) for score in scores],
                [score.values["bytes"] for score in scores],
                [self.clusters[index] for index in rows[source]],
            )
            low, high = estimate.interval or (None, None)
            found.append(
                {
                    "source": source,
                    "bits_per_byte": estimate.value,
                    "low": low,
                    "high": high,
                    "documents": len(scores),
                    "bytes": int(sum(score.values["bytes"] for score in scores)),
                    "perplexity": math.exp(
                        sum(score.values["nats"] for score in scores)
                        / sum(score.values["tokens"] for score in scores)
                    ),
                }
            )
        return {
            "by_source": {row["source"]: row["bits_per_byte"] for row in found},
            "sources": found,
        }

    def perplexity(self) -> Metric:
        """exp(Σ nats / Σ tokens of the model); chance is a uniform guess among its tokens."""
        estimate = stats.ratio(
            self.column("nats"), self.column("tokens"), self.clusters, transform=math.exp
        )
        chance = None if self.vocab_size is None else float(self.vocab_size)
        return estimate.metric(
            "perplexity", unscored=self.unscored, chance=chance, facts=self.facts()
        )

    def bits_per_byte(self, facts: Mapping[str, Any] | None = None) -> Metric:
        """Σ nats / (ln 2 · Σ bytes); chance is the same uniform guess, in bits."""
        lengths = self.column("bytes")
        bits = [nats / math.log(2) for nats in self.column("nats")]
        chance = (
            None
            if self.vocab_size is None
            else sum(self.column("tokens")) * math.log2(self.vocab_size) / sum(lengths)
        )
        return stats.ratio(bits, lengths, self.clusters).metric(
            "bits_per_byte",
            unscored=self.unscored,
            chance=chance,
            facts={**self.facts(), **(facts or {})},
        )


def document_facts(score: Score) -> dict[str, Any]:
    """The numbers of one document, for the report."""
    if score.unscored is not None:
        return {}
    values = score.values
    return {
        "bits per byte": values["nats"] / math.log(2) / values["bytes"],
        "nats per token": values["nats"] / values["tokens"],
        "tokens": int(values["tokens"]),
    }
