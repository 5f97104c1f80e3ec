"""How much worse a task may become before the gate calls it worse.

A margin is a number in the unit of the task's headline, or a percentage of the baseline's value.
Where none is given it is a share of the metric's range, or of the baseline's value where the range
has no end: 2%, and 10% for mini tasks, which have a few hundred samples and are there to notice
what broke.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import Result, UserError
from unimm_eval.engine.registry import nearest

DEFAULT_SHARE = 0.02
DEFAULT_MINI_SHARE = 0.10


@dataclass(frozen=True, kw_only=True)
class Margin:
    """`size` is in the metric's unit, or a share of the baseline's value if `relative`."""

    size: float
    relative: bool = False

    def of(self, baseline: Result) -> float:
        """In the metric's unit."""
        return self.size * abs(baseline.value) if self.relative else self.size


def default_margin(baseline: Result) -> Margin:
    """The margin of a headline for which none was given."""
    share = DEFAULT_MINI_SHARE if baseline.mini else DEFAULT_SHARE
    low, high = baseline.range
    if low is None or high is None:
        return Margin(size=share, relative=True)
    return Margin(size=share * (high - low))


def read_margins(assignments: Iterable[str] = (), *, file: Path | None = None) -> dict[str, Margin]:
    """Margins by task: of the YAML file `file` (lines `task: 0.02` or `task: 3%`), overridden by
    `assignments` (`task=0.02`). Raises UserError for what is no margin."""
    margins = {} if file is None else _of_file(file)
    for text in assignments:
        task, equals, value = text.rpartition("=")
        if not equals or not task:
            raise UserError(
                f"{text!r} is no margin.", fix="Write --margin TASK=VALUE, like geneval=0.02."
            )
        margins[task.strip()] = _margin(value, where=f"--margin {text}")
    return margins


def check_names(margins: Mapping[str, Margin], tasks: Iterable[str]) -> None:
    """Raise UserError when a margin is of no task that is compared."""
    known = list(tasks)
    unknown = [name for name in margins if name not in known]
    if unknown:
        raise UserError(
            "\n".join(f"A margin is of no task: {name}{nearest(name, known)}." for name in unknown),
            fix=f"The tasks are: {', '.join(known)}.",
        )


def _of_file(path: Path) -> dict[str, Margin]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} is not a table of margins.", fix="Write lines `geneval: 0.02`.")
    return {str(task): _margin(value, where=f"{path}: {task}") for task, value in document.items()}


def _margin(value: Any, *, where: str) -> Margin:
    text = str(value).strip()
    relative = text.endswith("%")
    try:
        size = float(text.removesuffix("%")) / (100 if relative else 1)
    except ValueError:
        size = math.nan
    if isinstance(value, bool) or not (math.isfinite(size) and size > 0):
        raise UserError(
            f"{where}: {text!r} is no margin.", fix="A margin is a number above 0, or 3%."
        )
    return Margin(size=size, relative=relative)
