"""The loss curve of a run, as a table and as a figure."""

import csv
from pathlib import Path

from unimm_eval.api import UserError
from unimm_eval.train.log import read_log

COLUMNS = ("step", "tokens", "text_loss", "flow_loss", "balance", "grad_norm", "learning_rate")
_DIGITS = 5
_HALF_WINDOW = 60


def write_curve(run: Path, output: Path) -> None:
    """Write `log.csv` (every step; `tokens` of the step) and `curve.png` into `output`.

    Raises UserError when nothing was logged.
    """
    entries = read_log(run)
    if not entries:
        raise UserError(f"{run}: there is no log of a training run")
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "log.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for entry in entries:
            writer.writerow(
                f"{value:.{_DIGITS}g}" if isinstance(value := entry[name], float) else value
                for name in COLUMNS
            )
    _draw(entries, output / "curve.png")


def _draw(entries: list[dict[str, float]], path: Path) -> None:
    """Text and flow loss against tokens: each step faint, a centred moving average strong."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    tokens = np.cumsum([entry["tokens"] for entry in entries]) / 1e6
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for panel, name, label in zip(
        panels, ("text_loss", "flow_loss"), ("text loss (nats a token)", "flow loss"), strict=True
    ):
        values = np.array([entry[name] for entry in entries])
        half = np.minimum(np.arange(len(values)), _HALF_WINDOW)  # narrower where it falls fast
        total = np.concatenate(([0.0], np.cumsum(values)))
        at = np.arange(len(values))
        low, high = at - half // 2, np.minimum(at + half // 2 + 1, len(values))
        smooth = (total[high] - total[low]) / (high - low)
        panel.plot(tokens, values, color="#9db8d9", linewidth=0.5)
        panel.plot(tokens, smooth, color="#1f4e89", linewidth=1.6)
        panel.set(xlabel="tokens (millions)", ylabel=label, yscale="log")
        panel.grid(alpha=0.3, which="both", linewidth=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
