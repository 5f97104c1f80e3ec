"""The decision, written down: `gate.json`, `junit.xml` and `summary.md`.

Names come from models and records: in Markdown they stand in code spans, where nothing is obeyed;
in XML the library escapes them; control characters are shown instead of obeyed everywhere.
"""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from unimm_eval.engine.files import explained, write_atomic
from unimm_eval.gate.outcome import GatedRun, GatedTask, Outcome
from unimm_eval.gate.rules import ALPHA, POWER
from unimm_eval.report.numbers import as_change, as_p_value, plain_number
from unimm_eval.report.plain import one_line

SCHEMA_VERSION = 1
FILES = ("gate.json", "junit.xml", "summary.md")
NAME_LIMIT = 200
_COLUMNS = (
    "Task",
    "Metric",
    "Baseline",
    "Run",
    "Better by",
    "At least",
    "Margin",
    "Smallest effect",
    "p, Holm's",
    "Verdict",
)


def write_outcome(outcome: Outcome, folder: Path, *, step_summary: Path | None = None) -> None:
    """Write the three files into `folder`, and append the summary to `step_summary` (the file that
    GitHub names in `GITHUB_STEP_SUMMARY`). Raises UserError where they cannot be written."""
    summary = "\n".join(summary_lines(outcome)) + "\n"
    contents = (_as_json(outcome), _as_junit(outcome), summary.encode("utf-8"))
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, contents, strict=True):
        write_atomic(folder / name, content)
    if step_summary is not None:
        with explained(step_summary), step_summary.open("a", encoding="utf-8") as file:
            file.write(f"{summary}\n")


def cells(task: GatedTask) -> tuple[str, ...]:
    """Metric to p-value of one task, as people read them."""
    ruling, arrow = task.ruling, "↓" if task.direction == "lower" else "↑"
    return (
        f"{one_line(task.metric, limit=NAME_LIMIT)} {arrow}",
        _number(task.baseline),
        _number(task.run),
        "" if ruling.gain is None else as_change(ruling.gain, ruling.stderr),
        _rounded(ruling.least),
        _rounded(task.margin),
        _rounded(ruling.smallest_effect),
        as_p_value(ruling.p_holm),
    )


def summary_lines(outcome: Outcome) -> Iterator[str]:
    """The decision as Markdown."""
    yield f"### unimm-eval gate: {outcome.verdict.upper()}"
    yield ""
    yield f"Run {_told(outcome.run)} against baseline {_told(outcome.baseline)}."
    yield ""
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|" + "---|" * len(_COLUMNS)
    for task in outcome.tasks:
        metric, *numbers = cells(task)
        verdict = f"**{task.ruling.verdict}**: {task.ruling.reason}{_marks(task)}"
        yield "| " + " | ".join([_code(task.task), _code(metric), *numbers, verdict]) + " |"
    yield ""
    yield rule_in_words(len(outcome.tasks))
    for line in outcome.setup:
        yield f"- not the same (A is the baseline): {_code(line)}"
    if outcome.not_gated:
        yield f"- not gated: {_code(', '.join(outcome.not_gated))}"


def rule_in_words(tasks: int) -> str:
    """The rule of the decision, in two sentences."""
    counted = f"{tasks} tasks" if tasks != 1 else "1 task"
    return (
        f"PASS: a change for the worse by the margin is ruled out ({1 - ALPHA:.0%} one-sided bound "
        f"above −margin). FAIL: not so, and worse (one-sided, Holm over {counted}, at most "
        f"{ALPHA:.0%} false alarms a gate). Smallest effect: what is found with {POWER:.0%} "
        "probability; a margin below it is UNRESOLVABLE unless the run fails."
    )


def _told(run: GatedRun) -> str:
    name = f"{one_line(run.model, limit=NAME_LIMIT)} {run.fingerprint[:16]} seed {run.seed}"
    return _code(name)


def _marks(task: GatedTask) -> str:
    marks = [
        *(["mini"] if task.mini and "mini" not in task.task else []),
        *(["limited"] if task.limited else []),
        *([] if task.paired or task.run is None else ["not paired"]),
    ]
    return f" ({', '.join(marks)})" if marks else ""


def _code(text: str) -> str:
    """A code span that nothing in `text` can end, fit for a cell of a table."""
    plain = one_line(text, limit=NAME_LIMIT).replace("`", "ˋ").replace("|", "¦")
    return f"`{plain}`" if plain.strip() else ""


def _number(value: float | None) -> str:
    return "" if value is None else plain_number(value)


def _rounded(value: float | None) -> str:
    """To three significant digits: bounds and effects are estimates."""
    return "" if value is None else plain_number(float(f"{value:.3g}"))


def _as_json(outcome: Outcome) -> bytes:
    document = {
        "schema_version": SCHEMA_VERSION,
        "rule": {"alpha": ALPHA, "power": POWER, "tests": len(outcome.tasks)},
        **asdict(outcome),
    }
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode("ascii")


def _as_junit(outcome: Outcome) -> bytes:
    """One test case a task: what fails is a failure, what is not decided an error."""
    failed = sum(task.ruling.verdict == "fail" for task in outcome.tasks)
    open_ = sum(task.ruling.verdict in ("inconclusive", "unresolvable") for task in outcome.tasks)
    suite = ET.Element(
        "testsuite",
        name="unimm-eval gate",
        tests=str(len(outcome.tasks)),
        failures=str(failed),
        errors=str(open_),
    )
    for task in outcome.tasks:
        name = one_line(task.task, limit=NAME_LIMIT)
        case = ET.SubElement(suite, "testcase", classname="unimm-eval.gate", name=name)
        ruling = task.ruling
        told = dict(zip(_COLUMNS[1:], cells(task), strict=False))
        text = "\n".join(f"{key}: {value}" for key, value in told.items() if value)
        if ruling.verdict == "pass":
            ET.SubElement(case, "system-out").text = f"{ruling.reason}\n{text}"
        else:
            kind = "failure" if ruling.verdict == "fail" else "error"
            problem = ET.SubElement(case, kind, type=ruling.verdict, message=ruling.reason)
            problem.text = text
    ET.indent(suite)
    data: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return data + b"\n"
