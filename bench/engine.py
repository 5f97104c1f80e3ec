"""What the engine costs a sample, and how it grows: `python -m bench.engine [--rows 1000000]`.

Two measurements, each in a process of its own. *Samples*: a whole run (plan, produce, judge,
summarize, record) of a task that does nothing with a model that answers at once, at 1, 4 and 16
times 2,000 samples; samples a second, and peak memory. *Store*: so many outputs with scores written
in transactions of 64, then opened anew as a resumed run does; rows a second and bytes on disk.
Times are CPU seconds of the process, with wall seconds beside them. Writes
`results/bench/engine.json`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.growth import TIMES, exponent
from unimm_eval.api import (
    Card,
    Context,
    Item,
    Metric,
    MetricSpec,
    Output,
    Sample,
    Score,
    Task,
    TaskConfig,
    make_samples,
)
from unimm_eval.engine.evaluate import evaluate
from unimm_eval.engine.machine import processor, versions
from unimm_eval.engine.store import Store

RECORD = Path(__file__).parents[1] / "results" / "bench" / "engine.json"
SAMPLES = 2000
BATCH = 64


class NoModel:
    """Answers nothing, at once."""

    name = "none"
    fingerprint = "0" * 64

    def describe(self) -> dict[str, Any]:
        return {}


class NoOp(Task):
    """As many samples as it is told, each answered and judged by a constant."""

    def __init__(self, count: int) -> None:
        card = Card(
            name="noop",
            task_class="NoOp",
            title="nothing",
            protocol="noop",
            version=1,
            requires=(),
            metrics={"mean": MetricSpec(direction="higher")},
        )
        super().__init__(card, TaskConfig(), data_dir=Path())
        self.count = count

    def samples(self) -> Iterable[Sample]:
        return make_samples(({"number": number}, str(number)) for number in range(self.count))

    def produce(self, model: Any, items: Sequence[Item], ctx: Context) -> Iterator[Output]:
        for item in items:
            yield Output(sample_id=item.sample.id, repeat=item.repeat, values={"answer": "yes"})

    def judge(self, samples: Sequence[Sample], outputs: Sequence[Output]) -> Iterator[Score]:
        for output in outputs:
            yield Score(sample_id=output.sample_id, values={"correct": 1.0})

    def summarize(self, samples: Sequence[Sample], scores: Sequence[Score]) -> list[Metric]:
        return [Metric(name="mean", value=1.0, n=len(scores))]


def run_samples(count: int, folder: Path) -> dict[str, float]:
    return timed(
        lambda: evaluate(NoModel(), [NoOp(count)], output=folder / "run", batch_size=BATCH)
    )


def write_store(rows: int, folder: Path) -> dict[str, float]:
    """Outputs and scores of so many samples."""

    def write() -> None:
        with Store(folder) as store:
            for start in range(0, rows, BATCH):
                keys = [f"{number:016x}" for number in range(start, min(start + BATCH, rows))]
                store.add_outputs(
                    "noop",
                    [(key, Output(sample_id=key, values={"answer": "yes"})) for key in keys],
                )
                store.add_scores(
                    "noop", "exact", [Score(sample_id=key, values={"correct": 1.0}) for key in keys]
                )

    found = timed(write)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return found | {"megabytes": size / 1e6}


def resume_store(rows: int, folder: Path) -> dict[str, float]:
    """What a run that continues asks of its store."""

    def read() -> None:
        with Store(folder) as store:
            assert len(store.output_keys("noop")) == rows
            assert len(store.scores("noop", "exact")) == rows

    return timed(read)


def timed(work: Any) -> dict[str, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {
        "cpu_seconds": time.process_time() - cpu,
        "wall_seconds": time.perf_counter() - wall,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


PARTS = {"samples": run_samples, "write": write_store, "resume": resume_store}


def alone(part: str, size: int, folder: Path) -> dict[str, float]:
    """A part in a process of its own, so that peaks of memory are its own."""
    command = [sys.executable, "-m", "bench.engine", "--part", part, "--size", str(size)]
    done = subprocess.run(
        [*command, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = {}
        for times in TIMES:
            (folder / str(times)).mkdir()
            samples[SAMPLES * times] = alone("samples", SAMPLES * times, folder / str(times))
        stores = {}
        for size in (rows // 16, rows // 4, rows):
            (folder / f"store-{size}").mkdir()
            written = alone("write", size, folder / f"store-{size}")
            stores[size] = {
                "write": written,
                "resume": alone("resume", size, folder / f"store-{size}"),
            }
    return {
        "samples": samples,
        "samples_exponent": exponent({n: row["wall_seconds"] for n, row in samples.items()}),
        "samples_a_second": {n: n / row["wall_seconds"] for n, row in samples.items()},
        "stores": stores,
        "write_exponent": exponent({n: row["write"]["wall_seconds"] for n, row in stores.items()}),
        "rows_a_second": {n: n / row["write"]["wall_seconds"] for n, row in stores.items()},
    }


def table(found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| what | size | wall s | CPU s | a second | peak MB | on disk MB |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [("samples through a run", n, row) for n, row in found["samples"].items()]
    for n, store in found["stores"].items():
        rows += [("rows written", n, store["write"]), ("rows found again", n, store["resume"])]
    for what, n, row in rows:
        disk = f"{row['megabytes']:.0f}" if "megabytes" in row else ""
        lines.append(
            f"| {what} | {int(n):,} | {row['wall_seconds']:.1f} | {row['cpu_seconds']:.1f} "
            f"| {int(n) / row['wall_seconds']:,.0f} | {row['peak_megabytes']:.0f} | {disk} |"
        )
    lines.append("")
    lines.append(
        f"Time grows with the {found['samples_exponent']:.2f}th power of the samples, the "
        f"{found['write_exponent']:.2f}th of the rows."
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path())
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments.size, arguments.folder)))
        return
    found = measure(arguments.rows)
    print(table(found))
    record = {"hardware": {"processor": processor()}, "versions": versions(), **found}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
