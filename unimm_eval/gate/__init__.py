"""The gate: is this checkpoint worse than a baseline?

`run_gate` holds a run against a baseline, task by task over the same samples, and decides once
(`rules`); `write_outcome` leaves the decision for machines and people. README.md of this folder has
a worked example.
"""

from unimm_eval.gate.margins import Margin, read_margins
from unimm_eval.gate.outcome import GatedTask, Outcome, run_gate
from unimm_eval.gate.written import summary_lines, write_outcome

__all__ = [
    "GatedTask",
    "Margin",
    "Outcome",
    "read_margins",
    "run_gate",
    "summary_lines",
    "write_outcome",
]
