"""All measurements of speed, one after the other: `python -m bench [NAME …]`.

Each is a command of its own (`python -m bench.NAME`), which prints its table and writes its record
to `results/bench/NAME.json`. Here they are started, and gathered in `results/bench/` as
`<date>-<hardware>.json`, all records by name, and `.md`, the tables. One that fails is named, with
its last line, and the others run; the exit code is then 1. For numbers that mean something, run
nothing else meanwhile.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unimm_eval.engine.machine import hardware, processor, versions

RESULTS = Path(__file__).parents[1] / "results" / "bench"
MEASUREMENTS = {
    "startup": "Start-up",
    "engine": "The engine: samples through a run, rows of the store",
    "perplexity": "Perplexity, against lm-eval's own model and a bare loop",
    "transfusion": "Generation and training, against transfusion-pytorch",
    "prefixes": "Questions about one picture, asked at once",
    "masks": "Masks of packed rows, against create_block_mask",
    "probes": "Linear probes, against scikit-learn",
    "leaderboard": "The leaderboard",
}


def measure(name: str) -> dict[str, Any]:
    """Run one; its record, table and seconds, or `failed`."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}"],
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1)}
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit {done.returncode}"]
        return found | {"failed": lines[-1]}
    record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found | {"table": done.stdout.strip(), "record": record}


def page(title: str, found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a section a measurement."""
    lines = [f"# {title}", ""]
    for name, result in found.items():
        lines += [f"## {MEASUREMENTS[name]}", ""]
        lines += [f"`python -m bench.{name}`, {result['seconds']:,.0f} s", ""]
        lines += [result.get("table") or f"**Failed**: {result['failed']}", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(MEASUREMENTS)):
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.names or MEASUREMENTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        found[name] = measure(name)
        print(found[name].get("table") or f"failed: {found[name]['failed']}", flush=True)
    machine = re.sub(r"[^\w.]+", "-", processor()).strip("-").lower() or platform.machine()
    stem = f"{datetime.now(UTC):%Y-%m-%d}-{machine}"
    facts = {key: value for key, value in hardware().items() if key != "host"}
    (RESULTS / f"{stem}.json").write_text(
        json.dumps({"hardware": facts, "versions": versions(), "measured": found}, indent=1) + "\n",
        encoding="utf-8",
    )
    (RESULTS / f"{stem}.md").write_text(page(stem, found), encoding="utf-8")
    return 1 if any("failed" in result for result in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
