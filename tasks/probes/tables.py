"""What a run exports: every layer in a table, and the curves as a figure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unimm_eval.api import Sample, Score
from unimm_eval.tasks.probes import figures
from unimm_eval.tasks.probes.curves import accuracy_curves, psnr_curves
from unimm_eval.tasks.probes.probing import targets_of
from unimm_eval.tasks.probes.summary import rows_of

TABLE = "probes.csv"
FIGURE = "figure-28-layers.png"
_COLUMNS = (
    "stack",
    "layer",
    "measure",
    "value",
    "low",
    "high",
    "validation",
    "learning_rate",
    "penalty",
    "ridge",
)


def exports_of(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    *,
    candidates: Sequence[tuple[float, float]],
) -> Iterator[tuple[str, bytes]]:
    """Nothing where there was nothing to probe."""
    rows: list[dict[str, Any]] = []
    for target in targets_of(samples):
        found = accuracy_curves(samples, scores, target=target, candidates=candidates)
        for stack, curve in found.items():
            rows += [
                {"stack": stack, "measure": f"{target} accuracy", **row}
                for row in rows_of(curve, ("learning_rate", "penalty"))
            ]
    for stack, curve in psnr_curves(samples, scores).items():
        rows += [
            {"stack": stack, "measure": figures.PSNR, **row} for row in rows_of(curve, ("ridge",))
        ]
    if rows:
        yield TABLE, _table(rows)
        yield FIGURE, figures.curves(rows)


def _table(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """CSV, a row for a layer and what is measured of it; what does not apply is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in _COLUMNS])
    return text.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
