"""`dclm:mini`: perplexity on a language whose true perplexity is known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from unimm_eval import stats
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
    make_samples,
)
from unimm_eval.tasks.text.perplexity import (
    Corpus,
    document_facts,
    judge_scores,
    produce_scores,
)

if TYPE_CHECKING:
    from unimm_eval.world import Document


class DclmMiniConfig(TaskConfig):
    documents: int = Field(200, ge=1, description="documents of the language")
    window: int = Field(4096, ge=2, description="most tokens a model sees at once")


class DclmMini(Task):
    """Perplexity of the world's test documents, beside the best that any model can have."""

    Config: ClassVar[type[TaskConfig]] = DclmMiniConfig
    config: DclmMiniConfig

    def generation(self) -> Mapping[str, Any]:
        return {"window": self.config.window}

    def samples(self) -> Iterator[Sample]:
        """One a document, named by its number in the test split; its own cluster."""
        return make_samples(
            ({"split": "test", "index": index, "text": document(index).text}, f"document {index}")
            for index in range(self.config.documents)
        )

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        return produce_scores(
            model,
            items,
            text_of=lambda sample: str(sample.inputs["text"]),
            window=self.config.window,
            overlap=0,
        )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        return judge_scores(
            samples, outputs, truth_of=lambda sample: document(sample.inputs["index"]).nats
        )

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """The model's perplexity, the true one per the same tokens, and how far apart they are."""
        corpus = Corpus(samples, scores)
        if not corpus.scores:
            return []
        nats, tokens = corpus.column("nats"), corpus.column("tokens")
        truth = corpus.column("true_nats")
        excess = [mine - true for mine, true in zip(nats, truth, strict=True)]
        perplexity, bits = corpus.perplexity(), corpus.bits_per_byte()
        true = stats.ratio(truth, tokens, corpus.clusters, transform=math.exp)
        ratio = stats.ratio(excess, tokens, corpus.clusters, transform=math.exp)
        chance = None if perplexity.chance is None else perplexity.chance / true.value
        return [
            perplexity,
            ratio.metric("ratio", unscored=corpus.unscored, chance=chance),
            true.metric("true_perplexity", unscored=corpus.unscored),
            bits,
        ]

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        facts = document_facts(score)
        if score.unscored is None:
            facts["true nats per token"] = score.values["true_nats"] / score.values["tokens"]
        return Exhibit(
            group=sample.inputs["text"].split()[0],
            prompt=sample.inputs["text"],
            note=score.unscored or "",
            facts=facts,
        )


@cache
def document(index: int) -> "Document":
    """Document number `index` of this task: its text and exact −log p."""
    from unimm_eval.world import rng_for, sample_document

    return sample_document(rng_for(split="test", purpose="dclm:mini", index=index), split="test")
