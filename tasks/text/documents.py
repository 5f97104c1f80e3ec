"""Documents whose likelihood is asked for: what `text`, `notes` and `dclm` have in common."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

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
from unimm_eval.tasks.text.perplexity import Corpus, document_facts, judge_scores, produce_scores

_EXCERPT = 400
_SHOWN = 5


class Document(Protocol):
    """A text that is scored on its own, wherever it lies.

    `digest` is the hash of the text, and `key` its name among the documents. One that cannot be
    scored has a `fault`, which says why: it is asked of no model, unscored and counted.
    """

    @property
    def key(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def fault(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What tells it from others, JSON-able, for its sample."""

    def text(self) -> str:
        """Raises UserError when it is no longer what it was."""


class DocumentsConfig(TaskConfig):
    path: Path | None = Field(None, description="where the text lies")
    window: int = Field(4096, ge=2, description="most tokens a model sees at once")
    overlap: int = Field(0, ge=0, description="tokens repeated from the window before, as context")

    @model_validator(mode="after")
    def _overlap_fits(self) -> "DocumentsConfig":
        if self.overlap >= self.window:
            raise ValueError("overlap must be less than window: something is to be scored")
        return self


class DocumentsTask(Task):
    """Perplexity and bits per byte of documents, in the order and with the headline of the card."""

    Config: ClassVar[type[TaskConfig]] = DocumentsConfig
    unpinned: ClassVar[frozenset[str]] = frozenset({"limit", "path"})
    config: DocumentsConfig

    @abstractmethod
    def read(self) -> Sequence[Document]:
        """All documents in order. Raises UserError naming the file that cannot be used."""

    @cached_property
    def documents(self) -> Sequence[Document]:
        """What was read, of which something can be scored. Raises UserError."""
        found = self.read()
        faults = [document.fault for document in found if document.fault]
        if len(faults) == len(found):
            more = [f"and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []
            raise UserError(
                f"the task `{self.card.name}` finds nothing that can be scored"
                + (f" in {self.config.path}" if self.config.path else "")
                + "\n  "
                + "\n  ".join([*faults[:_SHOWN], *more]),
                fix='a text is UTF-8; a line of JSONL is an object with a string "text" (and may '
                'have a "source"): iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE',
            )
        return found

    @cached_property
    def _by_key(self) -> Mapping[str, Document]:
        return {document.key: document for document in self.documents}

    def check(self) -> None:
        """Read everything once. Raises UserError naming what cannot be used."""
        _ = self.documents

    def data_identity(self) -> str:
        return stable_hash([document.digest for document in self.documents])

    def generation(self) -> Mapping[str, Any]:
        return {"window": self.config.window, "overlap": self.config.overlap}

    def samples(self) -> Iterator[Sample]:
        """One a document, which is its own cluster."""
        return make_samples((document.inputs, document.key) for document in self.documents)

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        sound = []
        for item in items:
            if fault := self._by_key[item.sample.cluster].fault:
                yield Output(sample_id=item.sample.id, repeat=item.repeat, error=fault)
            else:
                sound.append(item)
        yield from produce_scores(
            model,
            sound,
            text_of=lambda sample: self._by_key[sample.cluster].text(),
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
        found = (corpus.bits_per_byte(corpus.by_source()), corpus.perplexity())
        order = list(self.card.metrics)
        return sorted(found, key=lambda metric: order.index(metric.name))

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        document = self._by_key[sample.cluster]
        text = "" if document.fault else document.text()
        return Exhibit(
            group=document.source or sample.inputs.get("file", ""),
            prompt=text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else ""),
            note=score.unscored or "",
            facts=document_facts(score),
        )
