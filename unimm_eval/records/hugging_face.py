"""A record as metadata of a model on the Hugging Face Hub.

.eval_results/<task>.yaml   the Hub's evaluation results, official numbers only
model-index.yaml            the older form for the head of a model card; mini numbers say so
"""

from pathlib import Path
from typing import Any

from unimm_eval.api import Result, RunRecord, load_record
from unimm_eval.api.record_scores import file_name
from unimm_eval.engine.files import write_atomic
from unimm_eval.records.words import moment

_KINDS = {
    "GeneratesImages": "text-to-image",
    "ScoresText": "text-generation",
    "GeneratesText": "visual-question-answering",
}


def write(run: Path, output: Path) -> list[Path]:
    """Write the record at `run` below `output`; the files, by name."""
    record = load_record(run)
    written = [output / "model-index.yaml"]
    write_atomic(written[0], _yaml(_model_index(record)))
    for task in dict.fromkeys(row.task for row in record.results if not row.mini):
        path = output / ".eval_results" / f"{Path(file_name(task)).stem}.yaml"
        write_atomic(path, _yaml(_entries(record, task)))
        written.append(path)
    return written


def _entries(record: RunRecord, task: str) -> list[dict[str, Any]]:
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    data = _data(record, task)
    return eval_result_entries_to_yaml(
        [
            EvalResultEntry(
                dataset_id=str(data.get("source") or task),
                task_id=task if row.headline else f"{task}.{row.metric}",
                value=row.value,
                dataset_revision=data.get("revision"),
                date=moment(record).isoformat(),
                notes=_notes(record, row),
            )
            for row in record.results
            if row.task == task
        ]
    )


def _model_index(record: RunRecord) -> dict[str, Any]:
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type=_kind(row.task),
            dataset_type=str(_data(record, row.task).get("source") or row.task),
            dataset_name=f"{row.task} (mini: embedded world, not official)"
            if row.mini
            else row.task,
            dataset_revision=_data(record, row.task).get("revision"),
            metric_type=row.metric,
            metric_name=f"{row.metric}, {_notes(record, row)}",
            metric_value=row.value,
        )
        for row in record.results
    ]
    return {"model-index": eval_results_to_model_index(record.model.name, results)}


def _kind(task: str) -> str:
    """The Hub's word for a task, by what it asks of a model."""
    from unimm_eval.engine.registry import task_entries

    entry = task_entries().get(task)
    needs = entry.card.requires if entry else ()
    return next((_KINDS[need] for need in needs if need in _KINDS), "other")


def _data(record: RunRecord, task: str) -> dict[str, Any]:
    card = record.run.tasks.get(task, {}).get("card") or {}
    return dict(card.get("data") or {})


def _notes(record: RunRecord, row: Result) -> str:
    error = "" if row.stderr is None else f" ± {row.stderr:.3g}"
    limited = ", not all samples" if row.limited else ""
    child = record.vqa_model
    by = f", answered by the finetuned child {child.name}" if child and row.answered_by else ""
    return f"unimm-eval protocol {row.protocol_hash}, n={row.n}{error}{limited}{by}"


def _yaml(document: Any) -> bytes:
    import yaml

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")
