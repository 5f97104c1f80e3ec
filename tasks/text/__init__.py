"""`text`: how well a model predicts any text of yours."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from unimm_eval.api import (
    Context,
    Exhibit,
    Item,
    Metric,
    Output,
    Sample,
    Score,
    Task,
    TaskConfig,
    UserError,
    make_samples,
    stable_hash,
)
from unimm_eval.tasks.text.corpus import Passage, read_corpus
from unimm_eval.tasks.text.perplexity import (
    Corpus,
    document_facts,
    judge_scores,
    produce_scores,
)

_EXCERPT = 400


class TextConfig(TaskConfig):
    path: Path | None = Field(None, description="a text or JSONL file, or a folder of them")
    window: int = Field(4096, ge=2, description="most tokens a model sees at once")
    overlap: int = Field(0, ge=0, description="tokens repeated from the window before, as context")
    passage_bytes: int = Field(
        16384, ge=1024, description="plain files longer than this are cut into passages"
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> "TextConfig":
        if self.overlap and self.overlap > self.window - 2:
            raise ValueError("overlap must leave 2 tokens of the window: one given, one scored")
        return self


class Text(Task):
    """Bits per byte and perplexity of the user's own text."""

    Config: ClassVar[type[TaskConfig]] = TextConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path"})
    config: TextConfig

    def check(self) -> None:
        """Read all of the text once. Raises UserError naming the file that cannot be used."""
        _ = self._passages

    @cached_property
    def _passages(self) -> list[Passage]:
        if self.config.path is None:
            raise UserError(
                "the task `text` needs a text",
                fix="--set text.path=FILE (a text or JSONL file, or a folder of them)",
            )
        return read_corpus(self.config.path.expanduser(), passage_bytes=self.config.passage_bytes)

    @cached_property
    def _passage_at(self) -> dict[tuple[str, int], Passage]:
        return {(passage.name, passage.start): passage for passage in self._passages}

    def _passage(self, sample: Sample) -> Passage:
        return self._passage_at[sample.inputs["file"], sample.inputs["start"]]

    def data_identity(self) -> str:
        return stable_hash([passage.digest for passage in self._passages])

    def generation(self) -> Mapping[str, Any]:
        return {"window": self.config.window, "overlap": self.config.overlap}

    def samples(self) -> Iterator[Sample]:
        """One a passage; its own cluster."""
        return make_samples(
            (
                {
                    "file": passage.name,
                    "start": passage.start,
                    "end": passage.end,
                    "sha256": passage.digest,
                    "source": passage.source,
                },
                f"{passage.name}@{passage.start}",
            )
            for passage in self._passages
        )

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        return produce_scores(
            model,
            items,
            text_of=lambda sample: self._passage(sample).text(),
            window=self.config.window,
            overlap=self.config.overlap,
        )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        return judge_scores(samples, outputs)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """Bits per byte, which no tokenizer changes, and perplexity per token of the model."""
        corpus = Corpus(samples, scores)
        if not corpus.scores:
            return []
        sources = _bits_by_source(corpus)
        facts = {"by_source": sources} if len(sources) > 1 else {}
        return [corpus.bits_per_byte(facts), corpus.perplexity()]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        text = self._passage(sample).text()
        return Exhibit(
            group=sample.inputs["source"] or sample.inputs["file"],
            prompt=text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else ""),
            note=score.unscored or "",
            facts=document_facts(score),
        )


def _bits_by_source(corpus: Corpus) -> dict[str, float]:
    """Bits per byte of each `source` that the records of a JSONL corpus name."""
    nats: dict[str, float] = defaultdict(float)
    lengths: dict[str, float] = defaultdict(float)
    for sample, score in zip(corpus.samples, corpus.scores, strict=True):
        nats[sample.inputs["source"]] += score.values["nats"]
        lengths[sample.inputs["source"]] += score.values["bytes"]
    return {source: nats[source] / math.log(2) / lengths[source] for source in sorted(nats)}
