"""Stops a run whose loss is not finite or leaps, with the batch that did it on disk.

A loss leaps when it is far above what it was lately: more than `threshold` robust deviations (the
median absolute one, scaled to a normal's) of its logarithm above the median of the last steps, and
more than twice that median. The demo's 23,200 steps, of small noisy batches, reach 13 deviations.
"""

import contextlib
import json
import math
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.train.batches import Share
from unimm_eval.train.parallel import Ranks

SPIKE_THRESHOLD = 20.0
WINDOW = 128
_LEAST = 32
"""Steps before a median means something."""

_FACTOR = 2.0


class LossGuard:
    """Watches losses by name, each against its own last steps."""

    def __init__(self, *, threshold: float = SPIKE_THRESHOLD) -> None:
        self.threshold = threshold
        self._logs: dict[str, deque[float]] = {}

    def forget(self) -> None:
        """Another mixture has other losses."""
        self._logs.clear()

    def replay(self, losses: Iterable[dict[str, float]]) -> None:
        """What was seen before a run was stopped."""
        for step in losses:
            for name, loss in step.items():
                self._add(name, loss)

    def verdict(self, losses: dict[str, float]) -> str:
        """What is wrong with the losses of a step, or nothing; then they are remembered. A loss of
        0 belongs to a modality that the batch lacks."""
        for name, loss in losses.items():
            if not math.isfinite(loss):
                return f"the {name} loss is not finite ({loss})"
        for name, loss in losses.items():
            before = self._logs.get(name, ())
            if loss <= 0 or len(before) < _LEAST:
                continue
            centre = median(before)
            deviation = 1.4826 * median(abs(value - centre) for value in before)
            leap = math.log(loss) - centre
            if leap > max(self.threshold * deviation, math.log(_FACTOR)):
                return (
                    f"the {name} loss leaps to {loss:.4g}, {math.exp(leap):.1f} times its median "
                    f"over the last {len(before)} steps"
                )
        for name, loss in losses.items():
            self._add(name, loss)
        return ""

    def _add(self, name: str, loss: float) -> None:
        if 0 < loss < math.inf:
            self._logs.setdefault(name, deque(maxlen=WINDOW)).append(math.log(loss))


def stop(folder: Path, share: Share, what: str, *, numbers: dict[str, Any], ranks: Ranks) -> None:
    """Save the batch of a step as `stopped-<step>/` and raise UserError. All ranks call it."""
    from safetensors.torch import save_file

    number = share.step + 1
    place = folder / f"stopped-{number:07d}"
    tensors = {k: v for k, v in vars(share.batch).items() if k != "visible"}
    tensors |= {"source_BS": share.source_BS, **vars(share.batch.visible)}
    report = {
        "step": number,
        "what": what,
        "rows": [row for rows in ranks.gather(share.rows) for row in rows],
        "sources": [row for rows in ranks.gather(share.documents) for row in rows],
        **numbers,
    }
    with contextlib.suppress(OSError):  # a full disk must not hide what happened
        place.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, place / f"batch-{ranks.rank}.safetensors")
        if ranks.first:
            (place / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    ranks.wait()
    raise UserError(
        f"step {number}: {what}; its batch is in {place}, the last state is kept",
        fix=f"Add {number} to skip_steps in the recipe and give the same command to leave it out; "
        "or give --spike-threshold inf to go on through a leap; or begin anew with a lower "
        "learning rate.",
    )
