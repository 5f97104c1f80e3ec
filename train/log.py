"""log.jsonl: one line a step, cut back to the state that training goes on from."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LOG = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """One line. Losses are means over the batch of the step, with the weights they were added up
    with; `tokens` are those of all ranks, `image_tokens` those among them that are pictures'.

    `sources` gives tokens and losses of each source in the batch, `progress` the tokens of each
    since the run began, `experts` how evenly they are chosen in each layer (see load_summary).
    `mfu` is None where the device's peak is not known. `evaluation` holds what was measured after
    the step, or the word `failed` and why.
    """

    step: int
    text_loss: float
    flow_loss: float
    text_weight: float
    flow_weight: float
    balance: float
    grad_norm: float
    learning_rate: float
    tokens: int
    image_tokens: int
    seconds: float
    tokens_per_second: float
    mfu: float | None = None
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    progress: dict[str, int] = field(default_factory=dict)
    experts: dict[str, list[float]] | None = None
    evaluation: dict[str, Any] | None = None


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's log; a torn last line is left out."""
    path = folder / LOG
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


class TrainingLog:
    """Appends steps; lines after `step` are dropped first, for they were written behind the state
    that training goes on from."""

    def __init__(self, folder: Path, *, step: int) -> None:
        kept = [entry for entry in read_log(folder) if entry["step"] <= step]
        path = folder / LOG
        path.write_text("".join(f"{json.dumps(entry)}\n" for entry in kept), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def write(self, entry: StepLog) -> None:
        values = {name: value for name, value in asdict(entry).items() if value is not None}
        self._file.write(json.dumps(values) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def flat_metrics(entry: StepLog) -> dict[str, float]:
    """A line as numbers by name, as trackers of experiments take them."""
    metrics: dict[str, float] = {
        "loss/text": entry.text_loss,
        "loss/flow": entry.flow_loss,
        "loss/balance": entry.balance,
        "weight/text": entry.text_weight,
        "weight/flow": entry.flow_weight,
        "grad_norm": entry.grad_norm,
        "learning_rate": entry.learning_rate,
        "throughput/tokens_per_second": entry.tokens_per_second,
        "throughput/seconds": entry.seconds,
    }
    if entry.mfu is not None:
        metrics["throughput/mfu"] = entry.mfu
    for source, of_source in entry.sources.items():
        for name in ("text_loss", "flow_loss"):
            if name in of_source:
                metrics[f"source/{source}/{name}"] = of_source[name]
    for source, tokens in entry.progress.items():
        metrics[f"data/{source}/tokens"] = tokens
    for name, layers in (entry.experts or {}).items():
        for layer, value in enumerate(layers):
            metrics[f"experts/{name}/layer{layer}"] = value
    for name, value in (entry.evaluation or {}).items():
        if isinstance(value, int | float):
            metrics[f"evaluation/{name}"] = value
    return metrics
