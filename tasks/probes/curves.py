"""How good each layer is, gathered from what its probe says of validation and test pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from unimm_eval import stats
from unimm_eval.api import Sample, Score
from unimm_eval.stats import Estimate
from unimm_eval.tasks.probes.probing import STACKS


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values of test pictures [N, L] (1 where right, or PSNR in dB), the cluster of each, and by
    layer what validation pictures have on average and what was chosen by them."""

    value_NL: np.ndarray
    clusters: Sequence[str]
    validation_L: np.ndarray
    chosen_L: Sequence[Any]

    @cached_property
    def best(self) -> int:
        """The layer that is best on validation; of equals the first."""
        return int(self.validation_L.argmax())

    @property
    def last(self) -> int:
        return len(self.validation_L) - 1

    def of_layers(self) -> list[Estimate]:
        return [stats.clustered_mean(values, self.clusters) for values in self.value_NL.T]


def accuracy_curves(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    *,
    target: str,
    candidates: Sequence[tuple[float, float]],
) -> dict[str, Curve]:
    """By stack; those that were probed for `target`."""
    return _curves(
        samples,
        scores,
        {stack: f"{stack}/{target}" for stack in STACKS},
        kind="right",
        chosen="chosen",
        read=lambda text: np.frombuffer(text.encode(), np.uint8) - ord("0"),
        choice=lambda index: candidates[index],
    )


def psnr_curves(samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Curve]:
    """By stack; those that were decoded."""
    return _curves(
        samples,
        scores,
        {stack: stack for stack in STACKS},
        kind="psnr",
        chosen="ridge",
        read=np.array,
        choice=float,
    )


def _curves(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    keys: Mapping[str, str],
    *,
    kind: str,
    chosen: str,
    read: Any,
    choice: Any,
) -> dict[str, Curve]:
    judged = [
        (sample, score.payload)
        for sample, score in zip(samples, scores, strict=True)
        if kind in score.payload
    ]
    found: dict[str, Curve] = {}
    for stack, key in keys.items():
        mine = [pair for pair in judged if key in pair[1][kind]]
        val = [pair for pair in mine if pair[1]["split"] == "val"]
        test = [pair for pair in mine if pair[1]["split"] == "test"]
        if val and test:
            values, validation = (
                np.stack([read(payload[kind][key]) for _, payload in part]).astype(float)
                for part in (test, val)
            )
            found[stack] = Curve(
                value_NL=values,
                clusters=[sample.cluster for sample, _ in test],
                validation_L=validation.mean(axis=0),
                chosen_L=[choice(each) for each in test[0][1][chosen][key]],
            )
    return found
