"""From the choices of samples to metrics with intervals, and what is known of each layer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimm_eval import stats
from unimm_eval.api import Card, Metric, Score
from unimm_eval.tasks.experts.resampling import MODEL, TWIN, Routed
from unimm_eval.tasks.experts.statistics import (
    CLASSES,
    Choices,
    classes,
    correlation,
    entropy,
    load,
    mean_of,
    measures,
    rates,
    specialization,
    time_variation,
)

OVER_TWIN = "specialization_over_twin"
_TAIL = (1 - stats.CONFIDENCE) / 2


def metrics_of(scores: Sequence[Score], *, card: Card, resamples: int) -> list[Metric]:
    """The metrics of the card that have a value, in its order.

    An untrained twin is chance: what the same network does with the same documents and pictures
    before it has learned anything. Errors are of a bootstrap over documents and over pictures, the
    same ones for both.
    """
    kept = [score for score in scores if score.unscored is None]
    if not kept:
        return []
    model = Routed.gathered(kept, name=MODEL)
    twin = Routed.gathered(kept, name=TWIN) if all(TWIN in s.payload for s in kept) else None
    values = numbers(measures(model.whole()))
    chance = numbers(measures(twin.whole())) if twin else {}
    draws: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    if stats.errors_wanted():
        facts = _facts(model, kept)
        if model.clusters > 1:
            draws = _draws(model, resamples=resamples)
            _add_stability(facts, model, resamples=resamples)
    if twin and "specialization" in values and "specialization" in chance:
        values[OVER_TWIN] = values["specialization"] - chance["specialization"]
        chance[OVER_TWIN] = 0.0
        if draws:
            of_twin = _draws(twin, resamples=resamples)
            draws[OVER_TWIN] = draws["specialization"] - of_twin["specialization"]
        facts[OVER_TWIN] = {
            "model": values["specialization"],
            "untrained twin": chance["specialization"],
        }
    return [
        _metric(
            name,
            values[name],
            draws.get(name),
            range_=spec.range,
            n=len(kept),
            unscored=len(scores) - len(kept),
            chance=chance.get(name),
            facts=facts.get(name, {}),
        )
        for name, spec in card.metrics.items()
        if name in values
    ]


def numbers(measured: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Those that have a value."""
    return {name: float(value) for name, value in measured.items() if np.isfinite(value)}


def _draws(routed: Routed, *, resamples: int) -> dict[str, np.ndarray]:
    parts = [measures(choices) for choices in routed.drawn(resamples=resamples)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _metric(
    name: str,
    value: float,
    draws: np.ndarray | None,
    *,
    range_: tuple[float | None, float | None],
    n: int,
    unscored: int,
    chance: float | None,
    facts: Mapping[str, Any],
) -> Metric:
    error = None if draws is None else spread(draws)
    return Metric(
        name=name,
        value=value,
        stderr=None if error is None else error[0],
        interval=None if error is None else around(value, error, range_=range_),
        n=n,
        unscored=unscored,
        chance=chance,
        facts=facts,
    )


def spread(draws: np.ndarray) -> tuple[float, float, float] | None:
    """Standard deviation, and how far the central 95% reach below and above the mean; None where
    fewer than two draws have a value.

    Drawn sets repeat documents, so that |S| of rarely chosen experts comes out larger than in the
    set they are drawn from: what is told is the spread of the draws about their own mean.
    """
    found = draws[np.isfinite(draws)]
    if len(found) < 2:
        return None
    low, high = np.quantile(found, [_TAIL, 1 - _TAIL]) - found.mean()
    return float(found.std(ddof=1)), min(0.0, float(low)), max(0.0, float(high))


def around(
    value: float,
    error: tuple[float, float, float],
    *,
    range_: tuple[float | None, float | None],
) -> tuple[float, float]:
    """The interval about a value, within the range of its metric."""
    least, most = range_
    low, high = value + error[1], value + error[2]
    return (
        low if least is None else min(value, max(least, low)),
        high if most is None else max(value, min(most, high)),
    )


def _facts(model: Routed, scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    whole = model.whole()
    top_k = int(scores[0].payload["top_k"])
    share = load(whole)
    layers, experts = share.shape
    sizes = {
        "layers": layers,
        "routed_experts": experts,
        "top_k": top_k,
        "documents": 0 if model.text is None else len(model.text),
        "pictures": 0 if model.pictures is None else len(model.pictures),
    }
    facts: dict[str, dict[str, Any]] = {
        "entropy": {
            **sizes,
            "by_modality": {
                name: _plain(mean_of(entropy(rates(counts)), axes=1))
                for name, counts in _modalities(whole).items()
            },
            "by_layer": _listed(entropy(share)),
        },
        "max_load": {"by_layer": _listed(share.max(axis=-1) * experts)},
        "dead_experts": {
            "by_layer": (share == 0).sum(axis=-1).tolist(),
            "below_a_tenth_of_an_even_load": int((share < 0.1 / experts).sum()),
        },
    }
    if whole.text is None or whole.noisy is None:
        return facts
    score = specialization(whole.text, whole.noisy.sum(axis=-1))
    facts["specialization"] = {
        **sizes,
        "by_layer": _listed(mean_of(np.abs(score), axes=1)),
    }
    kind = classes(score)
    for name in CLASSES[:3]:
        of_layer = (kind == CLASSES.index(name)).sum(axis=-1)
        facts[f"{name}_experts"] = {"by_layer": of_layer.tolist()}
    facts["timestep_cv"] = {
        "of_all_experts": _plain(mean_of(time_variation(whole.noisy), axes=2)),
        "if_time_did_not_matter": _plain(
            np.mean([measures(each)["timestep_cv"] for each in model.shuffled_times()])
        ),
    }
    return facts


def _add_stability(facts: dict[str, dict[str, Any]], model: Routed, *, resamples: int) -> None:
    """How much of what is said about experts and layers other documents and pictures would say."""
    whole = model.whole()
    if whole.text is None or whole.noisy is None:
        return
    kept, _ = stability(model, resamples=resamples)
    facts["specialization"]["class_kept_when_resampled"] = float(kept.mean())
    value, draws = layer_correlations(model, resamples=resamples)
    rows = []
    for layer, r in enumerate(value):
        error = spread(draws[:, layer])
        interval = (
            None if error is None or not np.isfinite(r) else around(r, error, range_=(-1.0, 1.0))
        )
        rows.append({"layer": layer, "r": _plain(r), "interval": interval and list(interval)})
    facts["generation_understanding"] = {
        "least": _plain(np.nanmin(value)) if np.isfinite(value).any() else None,
        "by_layer": rows,
    }


def layer_correlations(model: Routed, *, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's r of each layer [L], and in draws [B, L]."""
    value = correlation(model.whole())
    drawn = [correlation(choices) for choices in model.drawn(resamples=resamples)]
    assert value is not None
    return value, np.concatenate([part for part in drawn if part is not None])


def stability(model: Routed, *, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """[L, E] share of draws in which an expert stays in its class, and [2, L, E] how far the
    central 95% of its S reach below and above their mean (NaN where it has none)."""
    score = _score(model.whole())
    drawn = np.concatenate([_score(choices) for choices in model.drawn(resamples=resamples)])
    kept = (classes(drawn) == classes(score)).mean(axis=0)
    with np.errstate(invalid="ignore"):
        reach = np.quantile(drawn, [_TAIL, 1 - _TAIL], axis=0) - drawn.mean(axis=0)
    return kept, reach


def _score(choices: Choices) -> np.ndarray:
    assert choices.text is not None
    assert choices.noisy is not None
    return specialization(choices.text, choices.noisy.sum(axis=-1))


def _modalities(choices: Choices) -> dict[str, np.ndarray]:
    found = {}
    if choices.text is not None:
        found["text"] = choices.text
    if choices.noisy is not None:
        found["image"] = choices.noisy.sum(axis=-1)
    return found


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if (v := _plain(value)) is None else round(v, 6) for value in values]
