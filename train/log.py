"""log.jsonl: one line a step, cut back to the state that training goes on from."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOG = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """One line. Losses are means over the batch of the step, with the weights they were added up
    with; `tokens` are those of all ranks."""

    step: int
    text_loss: float
    flow_loss: float
    text_weight: float
    flow_weight: float
    balance: float
    grad_norm: float
    learning_rate: float
    tokens: int
    seconds: float


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
        self._file.write(json.dumps(asdict(entry)) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
