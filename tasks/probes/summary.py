"""From what probes say of test pictures to metrics, and to what is known of each layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from unimm_eval import stats
from unimm_eval.api import Card, Metric, Sample, Score
from unimm_eval.stats import Estimate
from unimm_eval.tasks.probes.curves import Curve, accuracy_curves, psnr_curves
from unimm_eval.tasks.probes.probing import targets_of

Curves = Mapping[str, Mapping[str, Curve]]
"""By target and stack."""
Picked = Mapping[str, tuple[Curve, int]]
"""A layer of one stack for each target."""


def metrics_of(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    *,
    card: Card,
    candidates: Sequence[tuple[float, float]],
) -> list[Metric]:
    """The metrics of the card that have a value, in its order.

    The backbone's layer is the one that is best on validation, target by target, the encoder's is
    the last. Accuracies are means over targets.
    """
    targets = targets_of(samples)
    curves = {
        target: accuracy_curves(samples, scores, target=target, candidates=candidates)
        for target in targets
    }
    best, of_twin = (_picked(curves, stack, last=False) for stack in ("backbone", "twin"))
    last = _picked(curves, "encoder", last=True)
    chances = [1 / len(classes) for target, classes in targets.items() if curves[target]]
    guessing = sum(chances) / len(chances) if chances else None
    twin_value = _mean(of_twin).value if of_twin else None
    found: dict[str, tuple[Estimate, float | None, dict[str, Any]]] = {}
    if best:
        chance = guessing if twin_value is None else twin_value
        facts: dict[str, Any] = {"guessing": guessing, "best_layer": _layers(best)}
        if twin_value is not None:
            facts |= {"untrained twin": twin_value, "twin's best_layer": _layers(of_twin)}
        found["backbone_accuracy"] = _mean(best), chance, facts
        for target, (curve, layer) in best.items():
            estimate = stats.clustered_mean(curve.value_NL[:, layer].tolist(), curve.clusters)
            chance = 1 / len(targets[target])
            if target in of_twin:
                twin, of_layer = of_twin[target]
                chance = float(twin.value_NL[:, of_layer].mean())
            found[f"{target}_accuracy"] = estimate, chance, {"layer": layer}
    if last:
        found["encoder_accuracy"] = _mean(last), guessing, {"layer": _layers(last)}
    for name, other in (("backbone_over_encoder", last), ("backbone_over_twin", of_twin)):
        if best and best.keys() == other.keys():
            facts = {"backbone": _mean(best).value, "the other": _mean(other).value}
            found[name] = _difference(best, other), 0.0, facts
    psnr = psnr_curves(samples, scores)
    for stack, curve in psnr.items():
        estimate = stats.clustered_mean(curve.value_NL[:, curve.last].tolist(), curve.clusters)
        found[f"{stack}_psnr"] = estimate, None, {"layer": curve.last}
    if stats.errors_wanted():
        _add_layers(found, curves, psnr)
    unscored = sum(score.unscored is not None for score in scores)
    return [
        estimate.metric(name, unscored=unscored, chance=chance, facts=facts)
        for name, (estimate, chance, facts) in (
            (name, found[name]) for name in card.metrics if name in found
        )
    ]


def _picked(curves: Curves, stack: str, *, last: bool) -> dict[str, tuple[Curve, int]]:
    return {
        target: (of_target[stack], of_target[stack].last if last else of_target[stack].best)
        for target, of_target in curves.items()
        if stack in of_target
    }


def _layers(picked: Picked) -> dict[str, int]:
    return {target: layer for target, (_, layer) in picked.items()}


def _gathered(picked: Picked) -> tuple[list[float], list[str], list[str]]:
    """Values of test pictures, the target of each and its cluster."""
    rows = [
        (value, target, cluster)
        for target, (curve, layer) in picked.items()
        for value, cluster in zip(curve.value_NL[:, layer].tolist(), curve.clusters, strict=True)
    ]
    values, groups, clusters = zip(*rows, strict=True)
    return list(values), list(groups), list(clusters)


def _mean(picked: Picked) -> Estimate:
    return stats.macro_mean(*_gathered(picked))


def _difference(a: Picked, b: Picked) -> Estimate:
    """Of the same pictures."""
    values, groups, clusters = _gathered(a)
    others, _, _ = _gathered({target: b[target] for target in a})
    return stats.paired_difference(values, others, clusters, groups=groups)


def _add_layers(
    found: Mapping[str, tuple[Estimate, float | None, dict[str, Any]]],
    curves: Curves,
    psnr: Mapping[str, Curve],
) -> None:
    """The curves, to the facts of the metrics that they belong to."""
    for stack, name in (
        ("backbone", "backbone_accuracy"),
        ("encoder", "encoder_accuracy"),
        ("twin", "backbone_over_twin"),
    ):
        if name in found:
            found[name][2]["by_layer"] = {
                target: rows_of(of_target[stack], ("learning_rate", "penalty"))
                for target, of_target in curves.items()
                if stack in of_target
            }
    for stack, curve in psnr.items():
        found[f"{stack}_psnr"][2]["by_layer"] = rows_of(curve, ("ridge",))


def rows_of(curve: Curve, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """A row a layer: `value` with its 95% interval `low` to `high`, what `validation` says, and
    what was chosen by it."""
    rows = []
    for layer, estimate in enumerate(curve.of_layers()):
        low, high = estimate.interval or (None, None)
        choice = curve.chosen_L[layer]
        choices = choice if isinstance(choice, tuple) else (choice,)
        rows.append(
            {
                "layer": layer,
                "value": estimate.value,
                "low": low,
                "high": high,
                "validation": float(curve.validation_L[layer]),
                **dict(zip(chosen, choices, strict=True)),
            }
        )
    return rows
