"""A record as files of Every Eval Ever's datastore (its schema 0.3.0).

    data/<task>/<developer>/<model>/<uuid>.json            one task of the run: every metric
    data/<task>/<developer>/<model>/<uuid>_samples.jsonl   one line a scored output

The forms below are checked before anything is written; they follow the published schema (required
fields, enumerations, no others) and its datastore's further rules: finite scores within their
bounds, a checksum and a row count that agree. Outputs without a score are left out and counted,
since the form has no place for them; pictures are named by their SHA-256 in `metadata`.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unimm_eval.api import Result, RunRecord, ScoredOutput, load_record, load_scores, stable_hash
from unimm_eval.engine.files import write_atomic
from unimm_eval.records.words import asked, expected, main_value, moment, said, strings, versions

SCHEMA = "0.3.0"
Texts = dict[str, str]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uncertainty(_Form):
    standard_error: dict[str, float | str] | None = None
    confidence_interval: dict[str, float | str] | None = None
    num_samples: int


class ScoreDetails(_Form):
    score: Number
    details: Texts
    uncertainty: Uncertainty


class MetricConfig(_Form):
    metric_id: str
    metric_name: str
    metric_unit: str
    lower_is_better: bool
    score_type: Literal["continuous"] = "continuous"
    min_score: Number | Literal["-Infinity"]
    max_score: Number | Literal["Infinity"]
    additional_details: Texts


class SourceData(_Form):
    dataset_name: str
    source_type: Literal["url", "other"]
    url: list[str] | None = None
    additional_details: Texts


class EvaluationResult(_Form):
    evaluation_result_id: str
    evaluation_name: str
    source_data: SourceData
    metric_config: MetricConfig
    score_details: ScoreDetails
    generation_config: dict[str, Texts]

    @model_validator(mode="after")
    def _within(self) -> "EvaluationResult":
        config, score = self.metric_config, self.score_details.score
        if not float(config.min_score) <= score <= float(config.max_score):
            raise ValueError(f"{score} is not within {config.min_score} and {config.max_score}")
        return self


class SourceMetadata(_Form):
    source_name: str = "unimm-eval"
    source_type: Literal["evaluation_run"] = "evaluation_run"
    source_organization_name: str
    evaluator_relationship: Literal["first_party", "third_party", "collaborative", "other"]


class Library(_Form):
    name: str
    version: str


class Model(_Form):
    name: str
    id: str
    developer: str
    additional_details: Texts


class Details(_Form):
    format: Literal["jsonl"] = "jsonl"
    file_path: str
    hash_algorithm: Literal["sha256"] = "sha256"
    checksum: str
    total_rows: int


class Aggregate(_Form):
    """The file of one task."""

    schema_version: str = SCHEMA
    evaluation_id: str
    evaluation_timestamp: str
    retrieved_timestamp: str
    source_metadata: SourceMetadata
    eval_library: Library
    model_info: Model
    evaluation_results: list[EvaluationResult]
    detailed_evaluation_results: Details


class Attribution(_Form):
    turn_idx: int = 0
    source: str = "output.raw"
    extracted_value: str
    extraction_method: str = "custom"
    is_terminal: bool = True


class Verdict(_Form):
    score: Number
    is_correct: bool


class Instance(_Form):
    """One line of the samples' file."""

    schema_version: str = SCHEMA
    evaluation_id: str
    model_id: str
    evaluation_name: str
    evaluation_result_id: str
    sample_id: str
    sample_hash: str
    interaction_type: Literal["single_turn"] = "single_turn"
    input: dict[str, str | list[str]]
    output: dict[str, list[str]]
    answer_attribution: list[Attribution]
    evaluation: Verdict
    metadata: Texts


def write(run: Path, output: Path, *, organization: str = "unknown") -> list[Path]:
    """Write the record at `run` below `output`; the files, by name. Rows of groups are left out,
    since they have no samples of their own. Raises UserError when scores cannot be read."""
    record = load_record(run)
    written: list[Path] = []
    for task in record.scores:
        place = _place(record, task)
        lines = _instances(record, task, load_scores(run, task))
        data = b"".join(line + b"\n" for line in lines)
        samples = place.with_name(f"{place.stem}_samples.jsonl")
        aggregate = _aggregate(
            record,
            task,
            organization=organization,
            details=Details(
                file_path=str(samples),
                checksum=hashlib.sha256(data).hexdigest(),
                total_rows=data.count(b"\n"),
            ),
        )
        text = json.dumps(aggregate.model_dump(exclude_none=True), indent=2).encode()
        for path, content in ((output / samples, data), (output / place, text)):
            write_atomic(path, content)
            written.append(path)
    return written


def _aggregate(record: RunRecord, task: str, *, organization: str, details: Details) -> Aggregate:
    when = moment(record)
    return Aggregate(
        evaluation_id=_evaluation_id(record, task),
        evaluation_timestamp=when.isoformat(),
        retrieved_timestamp=str(int(when.timestamp())),
        source_metadata=SourceMetadata(
            source_organization_name=organization, evaluator_relationship="other"
        ),
        eval_library=Library(
            name="unimm-eval",
            version=versions(record).get("unimm-eval", "unknown"),
        ),
        model_info=_model(record),
        evaluation_results=[_result(record, row) for row in record.results if row.task == task],
        detailed_evaluation_results=details,
    )


def _model(record: RunRecord) -> Model:
    model = record.model
    kind = model.spec.partition(":")[0]
    facts = {name: model.facts.get(name) for name in ("parameters", "active_parameters")}
    served = kind == "openai"
    return Model(
        name=model.name,
        id=_model_id(record),
        developer=_developer(record),
        additional_details={
            "deployment_type": "externally_managed" if served else "self_deployed",
            "model_availability": "unknown",
            **strings({"fingerprint": model.fingerprint, "spec": model.spec, **facts}),
        },
    )


def _result(record: RunRecord, row: Result) -> EvaluationResult:
    asked_for = record.run.tasks[row.task]
    low, high = row.range
    error = None if row.stderr is None else {"value": row.stderr, "method": "clustered"}
    interval = row.interval and {
        "lower": row.interval[0],
        "upper": row.interval[1],
        "confidence_level": 0.95,
    }
    return EvaluationResult(
        evaluation_result_id=_result_id(row.task, row.metric),
        evaluation_name=row.task,
        source_data=_source(row.task, asked_for),
        metric_config=MetricConfig(
            metric_id=f"unimm-eval.{row.task}.{row.metric}",
            metric_name=row.metric,
            metric_unit=row.unit or "proportion",
            lower_is_better=row.direction == "lower",
            min_score="-Infinity" if low is None else low,
            max_score="Infinity" if high is None else high,
            additional_details=strings(
                {"protocol_hash": row.protocol_hash, "judge": asked_for.get("judge")}
            ),
        ),
        score_details=ScoreDetails(
            score=row.value,
            details=strings(
                {
                    "headline": row.headline,
                    "official": not row.mini,
                    "limited": row.limited,
                    "unscored": row.unscored,
                    "chance": row.chance,
                    "answered_by_child": row.answered_by or None,
                }
            ),
            uncertainty=Uncertainty(
                standard_error=error, confidence_interval=interval, num_samples=row.n
            ),
        ),
        generation_config={
            "additional_details": strings(
                {"seed": record.run.seed, **(asked_for.get("generation") or {})}
            )
        },
    )


def _source(task: str, asked_for: Mapping[str, Any]) -> SourceData:
    data = (asked_for.get("card") or {}).get("data") or {}
    urls = [
        file["url"] for file in data.get("files", ()) if isinstance(file, dict) and "url" in file
    ]
    return SourceData(
        dataset_name=str(data.get("source") or task),
        source_type="url" if urls else "other",
        url=urls or None,
        additional_details=strings(
            {name: data.get(name) for name in ("revision", "split", "samples_sha256")}
        ),
    )


def _instances(record: RunRecord, task: str, rows: Sequence[ScoredOutput]) -> Iterator[bytes]:
    headline = next((row.metric for row in record.results if row.task == task), "")
    for row in rows:
        main = main_value(row, headline)
        if row.score.unscored is not None or main is None:
            continue
        question, references, answer = asked(row), expected(row), said(row)
        line = Instance(
            evaluation_id=_evaluation_id(record, task),
            model_id=_model_id(record),
            evaluation_name=task,
            evaluation_result_id=_result_id(task, headline),
            sample_id=f"{row.sample.id}/{row.score.repeat}",
            sample_hash=hashlib.sha256(_utf8(question + "".join(references))).hexdigest(),
            input={"raw": question, "reference": references},
            output={"raw": [answer]},
            answer_attribution=[Attribution(extracted_value=answer)],
            evaluation=Verdict(score=main[1], is_correct=main[1] == 1.0),
            metadata=strings(
                {
                    "cluster": row.sample.cluster,
                    "score": main[0],
                    **{f"score.{name}": value for name, value in row.score.values.items()},
                    **{
                        f"media.{name}": f"sha256:{Path(file).stem}"
                        for name, file in row.media.items()
                    },
                }
            ),
        )
        yield json.dumps(line.model_dump()).encode()


def _evaluation_id(record: RunRecord, task: str) -> str:
    return f"{task}/{_model_id(record)}/{int(moment(record).timestamp())}"


def _result_id(task: str, metric: str) -> str:
    return f"{task}/{metric}"


def _model_id(record: RunRecord) -> str:
    name = record.model.name
    return name if "/" in name else f"{_developer(record)}/{name}"


def _developer(record: RunRecord) -> str:
    developer, slash, _ = record.model.name.partition("/")
    return developer if slash and developer else "unknown"


def _place(record: RunRecord, task: str) -> PurePosixPath:
    """Below `data/`; the identifier follows from the record, so that a second export of it is the
    same file."""
    digest = bytes.fromhex(stable_hash([record.digest, task], length=32))
    name = record.model.name.rpartition("/")[2]
    parts = (task, _developer(record), name)
    return PurePosixPath(
        "data", *(_part(part) for part in parts), f"{uuid.UUID(bytes=digest, version=4)}.json"
    )


def _part(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text, flags=re.ASCII).strip("-.") or "unknown"


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
