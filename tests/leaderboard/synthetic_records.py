"""Published records made up from the cards of today: sound in form, random in numbers."""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unimm_eval import data
from unimm_eval.api import (
    SCHEMA_VERSION,
    Card,
    ModelInfo,
    Output,
    Picture,
    Result,
    RunInfo,
    RunRecord,
    Sample,
    Score,
    content_hash,
    encode_png,
    record_folder,
    record_to_json,
    scores_file,
    scores_to_parquet,
)
from unimm_eval.engine.preflight import make_task
from unimm_eval.engine.registry import task_entries
from unimm_eval.records.layout import record_path

MINI = ("cc12m:mini", "dclm:mini", "dpgbench:mini", "fid:mini", "geneval:mini", "wise:mini")
"""Their cards have 32 metrics."""

Rows = Sequence[tuple[Sample, Output, Score]]


def facts_of(active: float, *, tokens: float = 1e8, feed_forward: str = "moe") -> dict[str, Any]:
    return {
        "active_parameters": active,
        "parameters": 2 * active,
        "architecture": {"feed_forward": feed_forward, "prediction": "x"},
        "training": {"tokens": tokens},
    }


def publish(
    results: Path,
    name: str,
    *,
    tasks: Sequence[str] = ("geneval:mini",),
    skill: float = 0.5,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    scores: Mapping[str, Rows] | None = None,
    edit: Callable[[Result], Result] = lambda row: row,
    cards: Mapping[str, Card] | None = None,
) -> Path:
    """A record of a model of that name, whose numbers are about `skill`; the file's path.

    `edit` changes each result, `scores` are written beside the record with their pictures.
    """
    cards = cards or {key: entry.card for key, entry in task_entries().items()}
    rng = random.Random(f"{name}/{seed}/{skill}")
    asked = {}
    rows: list[Result] = []
    for task in tasks:
        card = cards[task]
        judge = f"{card.protocol}@{card.version}"
        hashed = card.protocol_hash({}, judge)
        asked[task] = {
            "protocol_hash": hashed,
            "set": {},
            "judge": judge,
            "samples": card.whole or 100,
            "outputs": card.whole or 100,
            "card": card.pinned(),
        }
        rows += [edit(row) for row in _results(card, hashed, skill, rng)]
    files = {task: scores_to_parquet(each) for task, each in (scores or {}).items()}
    digits = f"{rng.getrandbits(256):064x}"
    record = RunRecord(
        schema_version=SCHEMA_VERSION,
        model=ModelInfo(name=name, spec="demo", fingerprint=digits, facts=facts or {}),
        run=RunInfo(name=digits[:10], seed=seed, plan_hash=digits[:10], tasks=asked),
        results=tuple(rows),
        scores={task: said for task, (_, said) in files.items()},
    )
    path = results / record_path(record)
    record = record.changed(run=record.run.model_copy(update={"name": path.stem}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(record_to_json(record))
    for task, (content, _) in files.items():
        scores_file(path, task).parent.mkdir(parents=True, exist_ok=True)
        scores_file(path, task).write_bytes(content)
    for each in (scores or {}).values():
        _write_media(record_folder(path) / "media", each)
    return path


def drawn_rows(count: int, *, skill: float, said: str = "", prompt: str = "") -> Rows:
    """Outputs of geneval:mini: pictures of a colour, right with a chance of `skill`."""
    task = make_task(task_entries()["geneval:mini"], {}, data.data_dir(None))
    rng = random.Random(f"{skill}")
    rows = []
    for sample in islice(task.samples(), 0, count * 8, 8):
        if prompt:
            sample = Sample(
                id=sample.id, inputs={**sample.inputs, "prompt": prompt}, cluster=sample.cluster
            )
        right = rng.random() < skill
        colour = (40, 160, 80) if right else (rng.randrange(256), 60, 90)
        picture = np.full((32, 32, 3), colour, np.uint8)
        picture[8:24, 8:24] = 230
        file = Path(f"{content_hash(encode_png(picture))}.png")
        rows.append(
            (
                sample,
                Output(sample_id=sample.id, media={"picture": Picture(path=file, array=picture)}),
                Score(
                    sample_id=sample.id,
                    values={"correct": float(right)},
                    payload={"reason": said or ("" if right else "saw nothing"), "details": {}},
                ),
            )
        )
    return rows


def answered_rows(count: int, *, skill: float) -> Rows:
    """Answers to questions of vqa16:mini, right with a chance of `skill`."""
    task = make_task(task_entries()["vqa16:mini"], {}, data.data_dir(None))
    rng = random.Random(f"answers {skill}")
    rows = []
    for sample in islice(task.samples(), 0, count * 8, 8):
        right = rng.random() < skill
        answer = sample.inputs["answer"] if right else "no idea"
        rows.append(
            (
                sample,
                Output(sample_id=sample.id, values={"answer": answer}),
                Score(sample_id=sample.id, values={"correct": float(right)}),
            )
        )
    return rows


def _results(card: Card, hashed: str, skill: float, rng: random.Random) -> list[Result]:
    rows = []
    for index, (metric, spec) in enumerate(card.metrics.items()):
        low, high = spec.range
        low = 0.0 if low is None else low
        better = min(0.999, max(0.001, rng.gauss(skill, 0.05)))
        share = better if spec.direction == "higher" else 1 - better
        value = low + share * (high - low) if high is not None else low + 20 * share + 0.01
        stderr = 0.02 * (1.0 if high is None else high - low) * rng.uniform(0.5, 1.5)
        top = value + 1.96 * stderr if high is None else min(high, value + 1.96 * stderr)
        rows.append(
            Result(
                task=card.name,
                metric=metric,
                value=value,
                stderr=stderr,
                interval=(max(low, value - 1.96 * stderr), top),
                n=100,
                chance=0.25 if spec.range == (0.0, 1.0) else None,
                direction=spec.direction,
                unit=spec.unit,
                range=spec.range,
                headline=index == 0,
                mini=card.mini,
                protocol_hash=hashed,
            )
        )
    return rows


def _write_media(folder: Path, rows: Rows) -> None:
    for _, output, _ in rows:
        for picture in output.media.values():
            assert picture.path is not None
            assert picture.array is not None
            path = folder / picture.path.name[:2] / picture.path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(picture.array))
