"""Which experts text and pictures go to: what `experts`, its mini and its text variant share."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from unimm_eval.api import (
    CaptionRequest,
    Context,
    DenoiseRequest,
    DocumentRequest,
    Exhibit,
    HasTwin,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    RoutingCounts,
    Sample,
    Score,
    Task,
    TaskConfig,
    UserError,
    item_seed,
)
from unimm_eval.tasks.experts.resampling import MODEL, TWIN
from unimm_eval.tasks.experts.routing import TIMES, fault_of, pack, stacked, tokens_of, unpack
from unimm_eval.tasks.experts.summary import metrics_of
from unimm_eval.tasks.experts.tables import exports_of

_EXCERPT = 400
_NOISE_SEED = 0  # not the run's: the same noise in every run makes runs comparable


class ExpertsConfig(TaskConfig):
    documents: int = Field(512, ge=1, description="documents from the beginning of the text")
    window: int = Field(4096, ge=2, description="most tokens of a document that are seen at once")
    twin: bool = Field(True, description="ask the untrained twin too, where the model has one")
    bootstrap_resamples: int = Field(500, ge=2, description="draws behind the intervals")


class ExpertsTask(Task):
    """Choices of a model's routers on documents and captioned pictures (paper §6.2, E.8).

    A sample is a document or a picture, and its own cluster. A document is shown as text; a
    picture ten times as noise behind its caption, at the middles u = (k + ½)/10 of the model's
    noise schedule, and once clean before its caption.
    """

    Config: ClassVar[type[TaskConfig]] = ExpertsConfig
    config: ExpertsConfig

    @abstractmethod
    def text_of(self, sample: Sample) -> str:
        """The text of a sample without a picture. Raises UserError when it has changed."""

    @abstractmethod
    def picture_of(self, sample: Sample) -> Picture:
        """The picture of a sample with a caption. Raises PictureError."""

    def generation(self) -> Mapping[str, Any]:
        return {"window": self.config.window, "twin": self.config.twin}

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        twin: Any = model.twin() if self.config.twin and isinstance(model, HasTwin) else None
        for item in items:
            ids: dict[str, Any] = {"sample_id": item.sample.id, "repeat": item.repeat}
            if fault := item.sample.inputs.get("fault"):
                yield Output(**ids, error=fault)
                continue
            try:
                requests = self._requests(item)
            except PictureError as error:
                yield Output(**ids, error=error.what)
                continue
            found = model.routing(requests)
            values = {MODEL: _packed(found), "top_k": found[0].top_k}
            if twin is not None:
                values[TWIN] = values[MODEL] if twin is model else _packed(twin.routing(requests))
            yield Output(**ids, values=values)

    def _requests(self, item: Item) -> list[DocumentRequest | DenoiseRequest | CaptionRequest]:
        sample = item.sample
        ids: dict[str, Any] = {"sample_id": sample.id, "repeat": item.repeat}
        if "caption" not in sample.inputs:
            window = self.config.window
            return [DocumentRequest(**ids, text=self.text_of(sample), max_length=window)]
        picture = Picture(array=self.picture_of(sample).load())
        caption = sample.inputs["caption"]
        return [
            *(
                DenoiseRequest(
                    **ids,
                    seed=item_seed(_NOISE_SEED, sample.id, time),
                    picture=picture,
                    caption=caption,
                    u=(time + 0.5) / TIMES,
                )
                for time in range(TIMES)
            ),
            CaptionRequest(**ids, picture=picture, caption=caption),
        ]

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """The counts as they are; counts that cannot be are unscored."""
        for output in outputs:
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
                continue
            top_k = output.values["top_k"]
            faults = [
                fault
                for name in (MODEL, TWIN)
                if name in output.values
                and (fault := fault_of(unpack(output.values[name]), top_k=top_k))
            ]
            if faults:
                yield Score(**ids, unscored=faults[0])
            else:
                yield Score(**ids, payload=dict(output.values))

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        return metrics_of(scores, card=self.card, resamples=self.config.bootstrap_resamples)

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        is_picture = "caption" in sample.inputs
        try:
            prompt = sample.inputs["caption"] if is_picture else self.text_of(sample)
        except UserError as error:
            prompt = error.what
        facts: dict[str, Any] = {}
        if score.unscored is None:
            counts_LEK = unpack(score.payload[MODEL])
            facts["tokens"] = int(counts_LEK[0].sum()) // score.payload["top_k"]
            facts["busiest expert, layer by layer"] = ", ".join(
                str(expert) for expert in counts_LEK.sum(axis=2).argmax(axis=1)
            )
        return Exhibit(
            group="pictures" if is_picture else "text",
            prompt=prompt[:_EXCERPT] + ("…" if len(prompt) > _EXCERPT else ""),
            note=score.unscored or "",
            shown={} if output.error or not is_picture else {"picture": self.picture_of(sample)},
            facts=facts,
        )

    def export(
        self, rows: Iterable[tuple[Sample, Output, Score]]
    ) -> Iterator[tuple[str, bytes | Picture]]:
        """Every expert in `experts.csv`, and figures like the paper's 18, 19 and 20."""
        scores = [score for _, _, score in rows]
        return exports_of(scores, resamples=self.config.bootstrap_resamples)


def _packed(found: Sequence[RoutingCounts]) -> dict[str, Any]:
    """Of a document the choices of its text; of a picture those of its own tokens."""
    if len(found) == 1:
        kinds = [tokens_of(found[0], modality="text", purpose="text")]
    else:
        *noisy, clean = found
        kinds = [tokens_of(one, modality="image", purpose="generation") for one in noisy]
        kinds.append(tokens_of(clean, modality="image", purpose="understanding"))
    return pack(stacked(kinds))
