"""A record in the layout that lm-eval leaves its own results in.

    <model>/results_<date>.json            every task and metric
    <model>/samples_<task>_<date>.jsonl    one line an output, where it was scored

Metrics stand under `name,none` with their error under `name_stderr,none`, as lm-eval names those of
a task without filters.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unimm_eval.api import Result, RunRecord, ScoredOutput, canonical_json, load_record, load_scores
from unimm_eval.api.record_scores import file_name
from unimm_eval.engine.files import write_atomic
from unimm_eval.records.words import asked, expected, moment, said, versions


def write(run: Path, output: Path) -> list[Path]:
    """Write the record at `run` below `output`; the files, by name."""
    record = load_record(run)
    folder = output / _sanitized(record.model.name)
    date = moment(record).replace(tzinfo=None).isoformat(timespec="microseconds").replace(":", "-")
    written: list[Path] = []
    hashes: dict[str, str] = {}
    for task in record.scores:
        lines = [_line(index, row) for index, row in enumerate(_scored(run, task))]
        parts = "".join(
            line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines
        )
        hashes[task] = _hash(parts)
        written.append(folder / f"samples_{Path(file_name(task)).stem}_{date}.jsonl")
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomic(written[-1], text.encode())
    written.append(folder / f"results_{date}.json")
    write_atomic(written[-1], json.dumps(results(record, task_hashes=hashes), indent=2).encode())
    return written


def results(record: RunRecord, *, task_hashes: Mapping[str, str]) -> dict[str, Any]:
    """What lm-eval's results file holds."""
    rows: dict[str, list[Result]] = {}
    for row in record.results:
        rows.setdefault(row.task, []).append(row)
    tasks = record.run.tasks
    programs = versions(record)
    return {
        "results": {task: _metrics(task, mine) for task, mine in rows.items()},
        "group_subtasks": {task: [] for task in rows},
        "configs": {
            task: {
                "task": task,
                "num_fewshot": 0,
                "metadata": {
                    "version": _version(tasks.get(task, {})),
                    "protocol_hash": mine[0].protocol_hash,
                    "mini": mine[0].mini,
                },
                **{
                    name: tasks[task][name]
                    for name in ("set", "generation", "judge")
                    if name in tasks.get(task, {})
                },
            }
            for task, mine in rows.items()
        },
        "versions": {task: _version(tasks.get(task, {})) for task in rows},
        "n-shot": dict.fromkeys(rows, 0),
        "higher_is_better": {
            task: {row.metric: row.direction == "higher" for row in mine}
            for task, mine in rows.items()
        },
        "n-samples": {
            task: {
                "original": tasks.get(task, {}).get("samples", mine[0].n),
                "effective": mine[0].n,
            }
            for task, mine in rows.items()
        },
        "config": {
            "model": "unimm-eval",
            "model_args": {"spec": record.model.spec, "fingerprint": record.model.fingerprint},
            "batch_size": None,
            "device": record.volatile.get("device"),
            "limit": None,
            "random_seed": record.run.seed,
        },
        "git_hash": None,
        "date": moment(record).timestamp(),
        "transformers_version": programs.get("transformers"),
        "lm_eval_version": None,
        "unimm_eval_version": programs.get("unimm-eval"),
        "task_hashes": dict(task_hashes),
        "model_source": "unimm-eval",
        "model_name": record.model.name,
        "model_name_sanitized": _sanitized(record.model.name),
        "system_instruction": None,
        "chat_template": None,
        "total_evaluation_time_seconds": str(record.volatile.get("seconds", "")),
    }


def _metrics(task: str, rows: Iterable[Result]) -> dict[str, Any]:
    found: dict[str, Any] = {"alias": task}
    for row in rows:
        found[f"{row.metric},none"] = row.value
        found[f"{row.metric}_stderr,none"] = "N/A" if row.stderr is None else row.stderr
    return found


def _version(asked_for: Mapping[str, Any]) -> Any:
    return (asked_for.get("card") or {}).get("version", "N/A")


def _scored(run: Path, task: str) -> list[ScoredOutput]:
    return [row for row in load_scores(run, task) if row.score.unscored is None]


def _line(index: int, row: ScoredOutput) -> dict[str, Any]:
    prompt, target, answer = asked(row), "; ".join(expected(row)), said(row)
    doc = {"id": row.sample.id, "repeat": row.score.repeat, **row.sample.inputs}
    return {
        "doc_id": index,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt}},
        "resps": [[answer]],
        "filtered_resps": [answer],
        "filter": "none",
        "metrics": list(row.score.values),
        "doc_hash": _hash(canonical_json(doc)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(target),
        **row.score.values,
    }


def _sanitized(name: str) -> str:
    """A model's name as lm-eval has it in folders."""
    return re.sub(r"[\"<>:/|\\?*\[\]\x00-\x1f]+", "__", name).strip(".") or "model"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
