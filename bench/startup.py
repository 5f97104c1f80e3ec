"""How long the program takes to answer: `python -m bench.startup`.

Commands that load no model, each started so many times; median, lowest and highest wall seconds,
and CPU seconds of the whole process. Writes `results/bench/startup.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from unimm_eval.engine.machine import processor, versions

RECORD = Path(__file__).parents[1] / "results" / "bench" / "startup.json"
COMMANDS = (
    ("unimm_eval.cli.main", "--help"),
    ("unimm_eval.cli.main", "tasks"),
    ("unimm_eval.cli.main", "models"),
    ("unimm_eval.cli.main", "tasks", "geneval:mini"),
    ("unimm_eval.cli.main", "--model", "demo", "--tasks", "mini", "--dry-run"),
    ("unimm_eval.cli.train", "--help"),
)
_NAMES = {"unimm_eval.cli.main": "unimm-eval", "unimm_eval.cli.train": "unimm-train"}


def seconds(module: str, *arguments: str) -> tuple[float, float]:
    """(wall, CPU) of one start to its end."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def measure(rounds: int) -> list[dict[str, Any]]:
    """The commands take turns within a round."""
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for module, *arguments in COMMANDS:
            name = " ".join((_NAMES[module], *arguments))
            times.setdefault(name, []).append(seconds(module, *arguments))
    return [
        {
            "command": name,
            "wall_seconds": statistics.median(wall for wall, _ in taken),
            "lowest": min(wall for wall, _ in taken),
            "highest": max(wall for wall, _ in taken),
            "cpu_seconds": statistics.median(cpu for _, cpu in taken),
        }
        for name, taken in times.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line a command."""
    lines = ["| command | wall s | lowest to highest | CPU s |", "|---|---|---|---|"]
    lines += [
        f"| `{row['command']}` | **{row['wall_seconds']:.2f}** | {row['lowest']:.2f} to "
        f"{row['highest']:.2f} | {row['cpu_seconds']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rows = measure(arguments.rounds)
    print(table(rows))
    record = {
        "hardware": {"processor": processor()},
        "versions": versions(),
        "rounds": arguments.rounds,
        "commands": rows,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
