"""What a run exports: every expert in a table, and figures like the paper's 18, 19 and 20."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unimm_eval.api import Score
from unimm_eval.tasks.experts import figures
from unimm_eval.tasks.experts.resampling import MODEL, TWIN, Routed
from unimm_eval.tasks.experts.statistics import (
    CLASSES,
    Choices,
    classes,
    correlation,
    load,
    rates,
    specialization,
    time_variation,
)
from unimm_eval.tasks.experts.summary import stability

TABLE = "experts.csv"
Columns = dict[str, np.ndarray]
"""[L, E] by name; what has no value is NaN."""


def exports_of(scores: Sequence[Score], *, resamples: int) -> Iterator[tuple[str, bytes]]:
    """Files of a run; of text alone there is only the table."""
    kept = [score for score in scores if score.unscored is None]
    model = Routed.gathered(kept, name=MODEL)
    columns = columns_of(model.whole())
    has_twin = all(TWIN in score.payload for score in kept)
    if "specialization" in columns:
        if model.clusters > 1:
            kept_class, reach = stability(model, resamples=resamples)
            columns["specialization_low"] = columns["specialization"] + reach[0].clip(max=0)
            columns["specialization_high"] = columns["specialization"] + reach[1].clip(min=0)
            columns["class_kept_when_resampled"] = kept_class
        if has_twin:
            twin = columns_of(Routed.gathered(kept, name=TWIN).whole())
            columns["twin_specialization"] = twin["specialization"]
    yield TABLE, table(columns)
    if "specialization" not in columns:
        return
    kind = classes(columns["specialization"])
    vision = columns["timestep_cv"][kind == CLASSES.index("vision")]
    r = correlation(model.whole())
    assert r is not None
    yield "figure-18-composition.png", figures.composition(kind)
    yield "figure-19-timesteps.png", figures.timesteps(vision[np.isfinite(vision)])
    yield (
        "figure-20-generation-understanding.png",
        figures.generation_understanding(
            columns["rate_generation"], columns["rate_understanding"], r
        ),
    )


def columns_of(choices: Choices) -> Columns:
    """Everything about each expert; rates are R of paper eq. 7."""
    found: Columns = {}
    if choices.text is not None:
        found["rate_text"] = rates(choices.text)
    if choices.noisy is not None and choices.clean is not None:
        found["rate_generation"] = rates(choices.noisy.sum(axis=-1))
        found["rate_understanding"] = rates(choices.clean)
        found["timestep_cv"] = time_variation(choices.noisy)
    found["load"] = load(choices)
    if choices.text is not None and choices.noisy is not None:
        found["specialization"] = specialization(choices.text, choices.noisy.sum(axis=-1))
    return found


def table(columns: Columns) -> bytes:
    """CSV, a row an expert; what has no value is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    score = columns.get("specialization")
    writer.writerow(["layer", "expert", *columns, *([] if score is None else ["class"])])
    kind = None if score is None else classes(score)
    layers, experts = columns["load"].shape
    for layer in range(layers):
        for expert in range(experts):
            row: list[Any] = [layer, expert]
            row += [_cell(values[layer, expert]) for values in columns.values()]
            row += [] if kind is None else [CLASSES[kind[layer, expert]]]
            writer.writerow(row)
    return text.getvalue().encode("utf-8")


def _cell(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""
