"""`unimm-eval watch TRAINDIR --tasks …`: judge each checkpoint of a training run as it lands."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from unimm_eval.api import RESULTS_FILE, RunRecord, load_record
from unimm_eval.cli.progress import watch as watch_run
from unimm_eval.engine.evaluate import evaluate, stoppable
from unimm_eval.engine.run import RUNS
from unimm_eval.engine.settings import parse_assignments
from unimm_eval.gate import Margin, Outcome, read_margins, run_gate, write_outcome
from unimm_eval.report import build_report
from unimm_eval.report.numbers import with_error
from unimm_eval.report.plain import one_line

LINES, FIGURE, GATE = "watch.jsonl", "watch.png", "gate"


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched, how it is judged, and where that is kept: `step-…/` is the run of a
    checkpoint, `watch.jsonl` a line a checkpoint, `watch.png` the headlines against tokens."""

    run: Path
    output: Path
    tasks: str
    limit: int | None = None
    settings: Mapping[str, Mapping[str, Any]]
    device: str = "auto"
    baseline: Path | None = None
    margins: Mapping[str, Margin]

    def judged(self) -> dict[int, Path]:
        """Runs that are complete, by step."""
        found = {
            int(path.parent.name.removeprefix("step-")): path.parent
            for path in self.output.glob(f"step-*/{RESULTS_FILE}")
        }
        return dict(sorted(found.items()))

    def follow(self, *, once: bool, every: float, say: Callable[[str], None]) -> int:
        """Judge what has landed and lands until training ends, or with `once` what is there; the
        newest first, older ones while nothing newer comes. Returns the newest one's exit code."""
        from unimm_eval.train.landed import landed, last_step

        last = last_step(self.run)
        with stoppable():
            while True:
                waiting = [step for step in landed(self.run) if step not in self.judged()]
                if waiting:
                    self._judge(waiting[-1], say=say)
                elif once or last in self.judged():
                    return self._verdict(say)
                else:
                    time.sleep(every)

    def _judge(self, step: int, *, say: Callable[[str], None]) -> None:
        from unimm_eval.train.landed import export_landed

        checkpoint = self.output / f"{self.run.resolve().name}-{step}"
        folder = self.output / f"step-{step:07d}"
        self.output.mkdir(parents=True, exist_ok=True)
        if not checkpoint.exists() and not export_landed(self.run, step, checkpoint):
            say(f"step {step}: training has removed it already")
            return
        with watch_run(sys.stderr) as progress:
            record = evaluate(
                str(checkpoint),
                self.tasks,
                limit=self.limit,
                settings=self.settings,
                device=self.device,
                output=folder,
                progress=progress,
            )
        shutil.rmtree(checkpoint)
        build_report(folder)
        outcome = self._gate(folder)
        self._write()
        say(f"step {step}: {_told(record)}" + (f"  {outcome.verdict.upper()}" if outcome else ""))

    def _gate(self, folder: Path) -> Outcome | None:
        if self.baseline is None:
            return None
        outcome = run_gate(folder, self.baseline, margins=self.margins)
        write_outcome(outcome, folder / GATE)
        return outcome

    def _verdict(self, say: Callable[[str], None]) -> int:
        """What the gate says of the newest checkpoint."""
        judged = self.judged()
        if not judged:
            say(f"{self.run}: nothing was saved yet")
            return 3
        outcome = self._gate(judged[max(judged)])
        return 0 if outcome is None else outcome.exit_code

    def _write(self) -> None:
        """The lines and the figure, made anew from the runs that are there."""
        records = {step: load_record(folder) for step, folder in self.judged().items()}
        lines = [
            json.dumps(
                {
                    "step": step,
                    "tokens": _tokens(record),
                    "headlines": {row.task: row.value for row in _headlines(record)},
                    "run": str(self.judged()[step]),
                }
            )
            for step, record in records.items()
        ]
        (self.output / LINES).write_text("\n".join(lines) + "\n", encoding="utf-8")
        draw(records, self.output / FIGURE)


def watch_command(
    run: Path,
    *,
    tasks: str,
    output: Path | None,
    limit: int | None,
    assignments: Sequence[str],
    device: str,
    baseline: Path | None,
    margins: Sequence[str],
    once: bool,
    every: float,
) -> int:
    """Watch, and return the exit code: the gate's on the newest checkpoint, 3 where there is
    none."""
    watched = Watch(
        run=run,
        output=output or RUNS / f"watch-{run.resolve().name}",
        tasks=tasks,
        limit=limit,
        settings=parse_assignments(assignments),
        device=device,
        baseline=baseline,
        margins=read_margins(margins),
    )
    return watched.follow(once=once, every=every, say=typer.echo)


def draw(records: Mapping[int, RunRecord], path: Path) -> None:
    """A panel a task: its headline against tokens with 95% intervals, and what chance scores."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        (row.task, row.metric): row for record in records.values() for row in _headlines(record)
    }
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(3.4 * columns, 2.5 * rows), layout="constrained", squeeze=False
    )
    for panel in panels.flat[len(shown) :]:
        panel.set_visible(False)
    for panel, (key, sample) in zip(panels.flat, shown.items(), strict=False):
        found = [
            (_tokens(record), row)
            for record in records.values()
            for row in _headlines(record)
            if (row.task, row.metric) == key
        ]
        values = [row.value for _, row in found]
        ends = [row.interval or (row.value, row.value) for _, row in found]
        below = [value - low for value, (low, _) in zip(values, ends, strict=True)]
        above = [high - value for value, (_, high) in zip(values, ends, strict=True)]
        panel.errorbar(
            [at / 1e6 for at, _ in found],
            values,
            yerr=[below, above],
            color="#1f4e89",
            marker="o",
            markersize=3.5,
            linewidth=1.4,
            elinewidth=0.8,
        )
        if sample.chance is not None:
            panel.axhline(sample.chance, color="#999999", linewidth=0.8, linestyle="--")
        arrow = "↑" if sample.direction == "higher" else "↓"
        panel.set_title(f"{one_line(sample.task)}: {one_line(sample.metric)} {arrow}", fontsize=9)
        panel.set_xlabel("tokens (millions)", fontsize=8)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3, linewidth=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _tokens(record: RunRecord) -> int:
    """That the checkpoint had been trained on."""
    return int(record.model.facts["training"]["tokens"])


def _headlines(record: RunRecord) -> list[Any]:
    return [row for row in record.results if row.headline]


def _told(record: RunRecord) -> str:
    return ", ".join(
        f"{row.task} {with_error(row.value, row.stderr)}" for row in _headlines(record)
    )
