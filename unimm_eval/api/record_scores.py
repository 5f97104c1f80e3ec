"""The scores of a task's outputs as a parquet file: one row an output, in the order of the run.

Equal rows give equal bytes, so that the SHA-256 of the file can stand in the record.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unimm_eval.api.record import ScoresFile
from unimm_eval.api.samples import Output, Sample, Score, stable_hash

Row = tuple[Sample, Output, Score]
_PREFIX = "score."


@dataclass(frozen=True, kw_only=True)
class ScoredOutput:
    """One output, read back: `sample` and `score` are what `Task.summarize` takes.

    `answer` are the output's values, `media` its pictures by name as file names (content hashes),
    which stand in `media/` of the run's folder and nowhere else; `error` why there is no answer.
    """

    sample: Sample
    score: Score
    answer: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


def file_name(task: str) -> str:
    """A task's file, named for every file system: `geneval:mini` → `geneval--mini.parquet`."""
    plain = task.replace(":", "--")
    safe = re.sub(r"[^\w.+-]", "_", plain, flags=re.ASCII)
    return f"{safe}.parquet" if safe == plain else f"{safe}-{stable_hash(task, length=8)}.parquet"


def scores_to_parquet(rows: Sequence[Row]) -> tuple[bytes, ScoresFile]:
    """The file, and what a record says of it.

    Columns: `sample`, `repeat`, `repeats`, `cluster`, `score.<name>` for every value, `unscored`
    and `error` (why), and `inputs`, `values`, `payload` as JSON, `media` as JSON of file names.
    """
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
    columns["repeats"] = pa.array([sample.repeats for sample, _, _ in rows], pa.int64())
    for name in dict.fromkeys(name for _, _, score in rows for name in score.values):
        numbers = [score.values.get(name) for _, _, score in rows]
        columns[f"{_PREFIX}{name}"] = pa.array(numbers, pa.float64())
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    data = buffer.getvalue()
    return data, ScoresFile(
        rows=len(rows),
        samples=len({sample.id for sample, _, _ in rows}),
        unscored=sum(score.unscored is not None for _, _, score in rows),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def scores_from_parquet(data: bytes) -> tuple[ScoredOutput, ...]:
    """The rows of `scores_to_parquet`. Raises ValueError when it is no such file, or a row stands
    in it twice."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        found = tuple(_scored(row) for row in rows)
    except (pa.ArrowException, OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not the scores of a task: {error}") from error
    keys = {(row.score.sample_id, row.score.repeat) for row in found}
    if len(keys) != len(found):
        raise ValueError(f"{len(found) - len(keys)} outputs stand in it twice")
    return found


def _scored(row: Mapping[str, Any]) -> ScoredOutput:
    inputs, payload, answer, media = (
        json.loads(row[name]) for name in ("inputs", "payload", "values", "media")
    )
    kinds = {"sample": str, "cluster": str, "repeat": int, "repeats": int}
    if wrong := [name for name, kind in kinds.items() if not isinstance(row[name], kind)]:
        raise TypeError(f"column {wrong[0]}")
    if not all(isinstance(value, dict) for value in (inputs, payload, answer, media)):
        raise TypeError("a column of JSON that holds no objects")
    values = {
        name.removeprefix(_PREFIX): value
        for name, value in row.items()
        if name.startswith(_PREFIX) and value is not None
    }
    return ScoredOutput(
        sample=Sample(
            id=row["sample"],
            inputs=inputs,
            cluster=row["cluster"],
            repeats=row["repeats"],
        ),
        score=Score(
            sample_id=row["sample"],
            repeat=row["repeat"],
            values=values,
            payload=payload,
            unscored=row["unscored"],
        ),
        answer=answer,
        media=media,
        error=row["error"],
    )


def _media_names(output: Output) -> dict[str, str]:
    return {name: item.path.name for name, item in output.media.items() if item.path is not None}
