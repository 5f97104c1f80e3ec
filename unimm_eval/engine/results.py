"""From metrics to rows of the record."""

import json
from collections.abc import Sequence

from unimm_eval.api import Metric, Result
from unimm_eval.engine.plan import PlannedTask


def rows_of(planned: PlannedTask, metrics: Sequence[Metric]) -> list[Result]:
    """Rows of the record, in the order of the card. The headline may be missing where a limit or
    unscored samples leave too little to make it of. Raises ValueError when metrics and card differ
    otherwise, or a number is not finite."""
    specs = planned.task.card.metrics
    found = {metric.name: metric for metric in metrics}
    headline = next(iter(specs))
    complete = not planned.limited and not any(metric.unscored for metric in metrics)
    if (
        len(found) != len(metrics)
        or not found.keys() <= specs.keys()
        or (complete and headline not in found)
    ):
        raise ValueError(
            f"task {planned.name} summarizes {[metric.name for metric in metrics]}, "
            f"its card has {list(specs)}"
        )
    return [
        Result(
            task=planned.name,
            metric=name,
            value=found[name].value,
            stderr=found[name].stderr,
            interval=found[name].interval,
            n=found[name].n,
            unscored=found[name].unscored,
            chance=found[name].chance,
            direction=spec.direction,
            unit=spec.unit,
            range=spec.range,
            headline=name == headline,
            mini=planned.task.card.mini,
            limited=planned.limited,
            protocol_hash=planned.protocol_hash,
            facts=json.loads(json.dumps(found[name].facts, allow_nan=False)),
            answered_by=planned.answered_by,
        )
        for name, spec in specs.items()
        if name in found
    ]
