"""A run as it is watched, on a terminal and in a log file."""

import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from unimm_eval.api import Result
from unimm_eval.cli.progress import BarProgress, LineProgress, _bars, watch

RESULT = Result(
    task="a",
    metric="accuracy",
    value=0.5,
    stderr=0.1,
    n=10,
    direction="higher",
    headline=True,
    mini=True,
    protocol_hash="0",
)


@pytest.fixture
def clock() -> Callable[[], float]:
    times: Iterator[float] = iter(range(0, 10_000, 4))
    return lambda: next(times)


def test_lines_tell_rate_and_time_left(clock: Callable[[], float]) -> None:
    stream = io.StringIO()
    lines = LineProgress(stream, clock)
    lines.task_started("a")
    lines.phase("a", "produce", total=100, done=20)
    for _ in range(8):
        lines.advance("a", 2)
    lines.task_finished("a", [RESULT])
    lines.note("x \x1b[31m")
    assert stream.getvalue().splitlines() == [
        "a: started",
        "a: asking the model, 20 of 100 are done already",
        "a: asking the model, 26/100, 0.5/s, 2:28 left",
        "a: asking the model, 32/100, 0.5/s, 2:16 left",
        "a: accuracy 0.50 ± 0.10",
        "x ␛[31m",
    ]


def test_only_a_task_without_numbers_failed() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream)
    lines.task_finished("limited", [RESULT.model_copy(update={"headline": False})])
    lines.task_finished("broken", [])
    assert stream.getvalue().splitlines() == ["limited: accuracy 0.50 ± 0.10", "broken: failed"]


def test_bars_tell_phase_and_outcome() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with _bars(console) as live:
        bars = BarProgress(live)
        for task in ("a[red]", "b"):
            bars.task_started(task)
            bars.phase(task, "produce", total=10, done=4)
            bars.advance(task, 6)
            bars.phase(task, "judge", total=10, done=0)
            bars.advance(task, 10)
            bars.phase(task, "summarize", total=0, done=0)
        bars.note("note \x1b[31m")
        bars.task_finished("a[red]", [RESULT])
        bars.task_finished("b", [])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    last = shown[shown.rindex("a[red]") :]
    assert "10/10 0:00 accuracy 0.50 ± 0.10" in last
    assert "failed" in last
    assert "note ␛[31m" in shown


def test_a_file_is_watched_by_lines() -> None:
    with watch(io.StringIO()) as progress:
        assert isinstance(progress, LineProgress)
