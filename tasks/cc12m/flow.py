"""Flow loss of captioned pictures: what `cc12m` and its mini variant have in common."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from unimm_eval import stats
from unimm_eval.api import (
    Context,
    DenoiseRequest,
    Exhibit,
    Item,
    Metric,
    Output,
    Picture,
    PictureError,
    Sample,
    Score,
    Task,
    TaskConfig,
    item_seed,
)

TIME_BINS = 10
_NOISE_SEED = 0  # not the run's: the same (t, noise) in every run makes runs comparable


class FlowConfig(TaskConfig):
    times: int = Field(10, ge=1, le=1000, description="times at which each picture is denoised")


class FlowLossTask(Task):
    """Mean flow loss (paper eq. 2) over pictures and times.

    Picture i is denoised `times` times, at the middles u = (k + ½)/times of equal parts of (0, 1),
    each before the model's own shift, with noise that depends on the picture and k alone.
    """

    config: FlowConfig

    @abstractmethod
    def picture(self, sample: Sample) -> Picture:
        """The picture of a sample. Raises PictureError."""

    def unit_of(self, model: Any) -> Mapping[str, Any]:
        """The latents that losses are squared errors of, by what the model says of them; of one
        that says nothing they are its own."""
        return {"latents": model.describe().get("latents") or model.fingerprint}

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        pictures: dict[str, Picture] = {}
        requests: list[DenoiseRequest] = []
        for item in items:
            sample = item.sample
            if fault := sample.inputs.get("fault"):
                yield Output(sample_id=sample.id, repeat=item.repeat, error=fault)
                continue
            try:
                if sample.id not in pictures:
                    pictures[sample.id] = Picture(array=self.picture(sample).load())
            except PictureError as error:
                yield Output(sample_id=sample.id, repeat=item.repeat, error=error.what)
                continue
            requests.append(
                DenoiseRequest(
                    sample_id=sample.id,
                    repeat=item.repeat,
                    seed=item_seed(_NOISE_SEED, sample.id, item.repeat),
                    picture=pictures[sample.id],
                    caption=sample.inputs["caption"],
                    u=(item.repeat + 0.5) / self.config.times,
                )
            )
        for request, loss in zip(requests, model.flow_losses(requests), strict=True):
            yield Output(
                sample_id=request.sample_id,
                repeat=request.repeat,
                values={"loss": loss.loss, "t": loss.t, "blank": loss.blank},
            )

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        """The model's numbers as they are; a loss that is not finite is unscored."""
        for output in outputs:
            ids: dict[str, Any] = {"sample_id": output.sample_id, "repeat": output.repeat}
            values = {name: float(value) for name, value in output.values.items()}
            if output.error is not None:
                yield Score(**ids, unscored=output.error)
            elif not all(math.isfinite(value) for value in values.values()):
                yield Score(**ids, unscored="the loss is not finite")
            else:
                yield Score(**ids, values=values)

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        """`flow_loss` of pictures like those of training, `flow_loss_held_out` of the others."""
        pairs = list(zip(samples, scores, strict=True))
        metrics = []
        for name, held_out in (("flow_loss", False), ("flow_loss_held_out", True)):
            mine = [pair for pair in pairs if pair[0].inputs.get("held_out", False) == held_out]
            kept = [pair for pair in mine if pair[1].unscored is None]
            if kept:
                metrics.append(_flow_loss(name, kept, unscored=len(mine) - len(kept)))
        return metrics

    def exhibit(self, sample: Sample, output: Output, score: Score) -> Exhibit | None:
        """One exhibit a picture, at the middle of its times."""
        if output.repeat != sample.repeats // 2:
            return None
        return Exhibit(
            group="held out" if sample.inputs.get("held_out") else "pictures",
            prompt=sample.inputs["caption"],
            note=score.unscored or "",
            shown={} if output.error else {"picture": self.picture(sample)},
            facts=dict(score.values),
        )


def _flow_loss(name: str, pairs: Sequence[tuple[Sample, Score]], *, unscored: int) -> Metric:
    losses = [score.values["loss"] for _, score in pairs]
    blanks = [score.values["blank"] for _, score in pairs]
    return stats.clustered_mean(losses, [sample.cluster for sample, _ in pairs]).metric(
        name,
        unscored=unscored,
        chance=sum(blanks) / len(blanks),
        facts={"by_time": by_time(pairs)},
    )


def by_time(pairs: Sequence[tuple[Sample, Score]]) -> list[dict[str, Any]]:
    """Mean loss in ten equal bins of the shifted time t (0 noise, 1 data); empty bins left out.

    A row: `t` the mean time of the bin, `loss` with `stderr` and `low`, `high` (95%), `blank` what
    predicting z0 = 0 loses there, `n` losses.
    """
    bins: list[list[tuple[Sample, Score]]] = [[] for _ in range(TIME_BINS)]
    for sample, score in pairs:
        place = min(TIME_BINS - 1, max(0, int(score.values["t"] * TIME_BINS)))
        bins[place].append((sample, score))
    rows = []
    for mine in bins:
        if not mine:
            continue
        columns = {key: [score.values[key] for _, score in mine] for key in ("t", "loss", "blank")}
        estimate = stats.clustered_mean(columns["loss"], [sample.cluster for sample, _ in mine])
        low, high = estimate.interval or (None, None)
        rows.append(
            {
                "t": sum(columns["t"]) / len(mine),
                "loss": estimate.value,
                "stderr": estimate.stderr,
                "low": low,
                "high": high,
                "blank": sum(columns["blank"]) / len(mine),
                "n": len(mine),
            }
        )
    return rows
