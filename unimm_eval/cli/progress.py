"""A run as it is watched: bars on a terminal, plain lines in a log file."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from unimm_eval.api import Result
from unimm_eval.engine.progress import Phase, Progress
from unimm_eval.report.numbers import with_error
from unimm_eval.report.plain import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0
_DOING: dict[Phase, str] = {
    "produce": "asking the model",
    "judge": "judging",
    "summarize": "summarizing",
}


@contextmanager
def watch(stream: TextIO) -> Iterator[Progress]:
    """What to hand to `evaluate`: bars when `stream` is a terminal, else lines."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        yield LineProgress(stream)
        return
    with _bars(console) as bars:
        yield BarProgress(bars)


@dataclass(kw_only=True)
class _At:
    """How far a task is in its phase, and when it began."""

    phase: Phase
    total: int
    done: int
    done_before: int
    since: float
    last_line: float


class LineProgress:
    """One line when a task starts or ends, and one every ten seconds between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._at: dict[str, _At] = {}

    def note(self, message: str) -> None:
        self._say(message)

    def task_started(self, task: str) -> None:
        self._say(f"{task}: started")

    def phase(self, task: str, phase: Phase, *, total: int, done: int) -> None:
        now = self._clock()
        self._at[task] = _At(
            phase=phase, total=total, done=done, done_before=done, since=now, last_line=now
        )
        if done:
            self._say(f"{task}: {_DOING[phase]}, {done:,} of {total:,} are done already")

    def advance(self, task: str, count: int) -> None:
        at, now = self._at[task], self._clock()
        at.done += count
        if now - at.last_line < SECONDS_BETWEEN_LINES:
            return
        at.last_line = now
        rate = (at.done - at.done_before) / max(now - at.since, 1e-9)
        left = _duration((at.total - at.done) / rate) if rate else "?"
        self._say(
            f"{task}: {_DOING[at.phase]}, {at.done:,}/{at.total:,}, {rate:.1f}/s, {left} left"
        )

    def task_finished(self, task: str, results: Sequence[Result]) -> None:
        self._say(f"{task}: {_outcome(results)}")

    def _say(self, message: str) -> None:
        self._stream.write(one_line(message) + "\n")
        self._stream.flush()


class BarProgress:
    """A bar for the phase a task is in; it stays, full, with the headline when the task is done."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._bar_of: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}

    def note(self, message: str) -> None:
        from rich.text import Text

        self._bars.console.print(Text(one_line(message), style="dim"))

    def task_started(self, task: str) -> None:
        self._began[task] = time.monotonic()
        self._bar_of[task] = self._bars.add_task(
            one_line(task), total=None, doing="starting", took=None
        )

    def phase(self, task: str, phase: Phase, *, total: int, done: int) -> None:
        bar = self._bar_of[task]
        if total:  # a reset forgets the speed of the phase before
            self._bars.reset(bar, total=total, completed=done)
        self._bars.update(bar, doing=_DOING[phase])

    def advance(self, task: str, count: int) -> None:
        self._bars.advance(self._bar_of[task], count)

    def task_finished(self, task: str, results: Sequence[Result]) -> None:
        took = time.monotonic() - self._began[task]
        self._bars.update(self._bar_of[task], doing=_outcome(results), took=took)
        self._bars.stop_task(self._bar_of[task])


def _bars(console: "Console") -> "Bars":
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import Task as Bar
    from rich.text import Text

    class Speed(ProgressColumn):
        """Outputs a second and the time left; at the end the time that the task took."""

        def render(self, task: Bar) -> Text:
            if task.fields["took"] is not None:
                return Text(_duration(task.fields["took"]), style="progress.elapsed")
            if not task.speed:
                return Text("")
            left = "" if task.time_remaining is None else f"{_duration(task.time_remaining)} left"
            return Text(f"{task.speed:.1f}/s  {left}", style="progress.remaining")

    return Bars(
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        Speed(),
        TextColumn("{task.fields[doing]}", markup=False, style="dim"),
        console=console,
        speed_estimate_period=30,
    )


def _outcome(results: Sequence[Result]) -> str:
    """The headline, or the first number of a task that was limited too much to have one."""
    if not results:
        return "failed"
    shown = next((row for row in results if row.headline), results[0])
    return f"{shown.metric} {with_error(shown.value, shown.stderr)}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
