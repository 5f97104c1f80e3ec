"""From metrics and the store to what a person or another program reads."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

from unimm_eval.api import Metric, Output, Result, Sample, Score
from unimm_eval.engine.files import write_atomic
from unimm_eval.engine.plan import PlannedTask

Row = tuple[Sample, Output, Score]


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
            facts=json.loads(json.dumps(found[name].facts)),
        )
        for name, spec in specs.items()
        if name in found
    ]


def write_samples(path: Path, rows: Sequence[Row]) -> None:
    """One row an output: `sample`, `repeat`, `cluster`, `score.<name>` for every value, `unscored`
    and `error` (why), and `inputs`, `values`, `payload` as JSON, `media` as JSON of file names."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = {
        "sample": [sample.id for sample, _, _ in rows],
        "cluster": [sample.cluster for sample, _, _ in rows],
        "inputs": [json.dumps(sample.inputs) for sample, _, _ in rows],
        "values": [json.dumps(output.values) for _, output, _ in rows],
        "media": [json.dumps(_media_names(output)) for _, output, _ in rows],
        "error": [output.error for _, output, _ in rows],
        "unscored": [score.unscored for _, _, score in rows],
        "payload": [json.dumps(score.payload) for _, _, score in rows],
    }
    columns = {name: pa.array(values, pa.string()) for name, values in text.items()}
    columns["repeat"] = pa.array([output.repeat for _, output, _ in rows], pa.int64())
    for name in sorted({name for _, _, score in rows for name in score.values}):
        numbers = [score.values.get(name) for _, _, score in rows]
        columns[f"score.{name}"] = pa.array(numbers, pa.float64())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    write_atomic(path, buffer.getvalue())


def _media_names(output: Output) -> dict[str, str]:
    return {name: item.path.name for name, item in output.media.items() if item.path is not None}
