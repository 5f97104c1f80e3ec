"""lmms-eval in a process of its own: prompts, pictures, generation arguments, graders, aggregators.

Loaded by `unimm_eval.tasks.child`; nothing here sees the model. A session is one task.
"""

import copy
import difflib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# A key must be there, or the graders' clients say that they have no judge and score 0.
os.environ |= {
    "OPENAI_API_KEY": "answered-by-the-harness",
    "API_TYPE": "openai",
    "TQDM_DISABLE": "1",
}
os.environ.pop("OPENAI_API_URL", None)

import lmms_eval.tasks
from lmms_eval.api.instance import Instance
from lmms_eval.api.reasoning import parse_reasoning_tags_config
from lmms_eval.api.task import ConfigurableTask
from lmms_eval.evaluator import _process_document_results
from lmms_eval.filters.transformation import StripThinkingFilter
from lmms_eval.tasks import TaskManager
from PIL import Image

from unimm_eval.api import UserError, stable_hash
from unimm_eval.tasks.lmms import grades, mmbench
from unimm_eval.tasks.lmms.answering import Unanswered, Undecided, answered
from unimm_eval.tasks.lmms.sources import (
    BrokenPicture,
    Sources,
    image_columns,
    join_gqa,
    picture_digests,
)

NAME = "lmms-eval"
_FEWSHOT_SEED = 1234
_KINDS = ("generate_until",)


class Session:
    """One task of lmms-eval."""

    def open(
        self,
        *,
        task: str,
        scratch: str,
        source: str | None,
        revision: str | None,
        revisions: Mapping[str, str],
        settled: bool,
    ) -> dict[str, Any]:
        """Load the task and its data. `scratch` is a folder for pictures and for the files that
        aggregators write. Raises UserError when the task cannot be run."""
        os.chdir(scratch)
        self._scratch = Path(scratch)
        self._sources = Sources(
            folder=source, revision=revision, revisions=revisions, settled=settled
        )
        self._sources.install()
        for name in ("download", "process_results"):  # tried five times each, seconds apart
            setattr(ConfigurableTask, name, getattr(ConfigurableTask, name).__wrapped__)
        folder = _folder_of(task)
        manager = TaskManager(include_path=[str(folder)], include_defaults=False)
        config = _config_of(task, manager)
        self._stops_declared = "until" in (config.get("generation_kwargs") or {})
        self._task = _loaded(task, manager)
        self._evaluator = mmbench.evaluator_of(self._task)
        return {
            "metrics": self._task.higher_is_better(),
            "generation": self._generation(),
            "grader": _hash_of(folder),
            "lmms_eval": version("lmms_eval"),
            "repository": self._task.DATASET_PATH,
            "revisions": self._sources.revisions,
            "moved": self._sources.moved,
        }

    @property
    def _docs(self) -> Any:
        return self._task.eval_docs_no_media

    def _generation(self) -> dict[str, Any]:
        """Arguments as the task means them. A stop that it does not name is no stop: lmms-eval
        puts a blank line there, which cuts answers that reason."""
        given = self._task.config.generation_kwargs or {}
        if given.get("num_beams") not in (None, 1):
            raise UserError(
                f"The task searches with {given['num_beams']} beams, which no model here offers."
            )
        until = given.get("until") if self._stops_declared else None
        stops = [until] if isinstance(until, str) else list(until or ())
        temperature = float(given.get("temperature") or 0.0)
        return {
            "stop": [stop for stop in stops if stop],
            "max_new_tokens": given.get("max_new_tokens") or given.get("max_gen_toks"),
            "temperature": 0.0 if given.get("do_sample") is False else temperature,
            "top_p": float(given.get("top_p") or 1.0),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every document: its prompt, and hashes of it and its pictures, none of them decoded."""
        docs = self._docs
        media = set(image_columns(docs.features))
        shown = picture_digests(self._task.eval_docs)
        plain = docs.remove_columns(sorted(media)) if media else docs
        for row, (doc, pictures) in enumerate(zip(plain, shown, strict=True)):
            try:
                prompt = str(self._task.fewshot_context(doc, self._task.config.num_fewshot))
            except Exception as error:  # noqa: BLE001 - a document that its task cannot read
                prompt = f"({_told(error)})"
            cluster = _cluster(self._task, doc) or "+".join(sorted(set(pictures)))
            digest = stable_hash(grades.packed(_json_like(doc)))
            yield {
                "row": row,
                "prompt": prompt,
                "document": digest,
                "pictures": pictures,
                "cluster": cluster or digest,
            }

    def questions(self, *, rows: Sequence[int]) -> list[dict[str, Any]]:
        """For each document what the model is to see: texts and paths of pictures, or why not."""
        return [self._question(row) for row in rows]

    def _question(self, row: int) -> dict[str, Any]:
        doc = self._task.eval_docs[row]
        try:
            messages = self._task.doc_to_messages(doc)
            return {"parts": [part for message in messages for part in self._parts(message)]}
        except Exception as error:  # noqa: BLE001 - a row that cannot be asked costs itself alone
            columns = image_columns(self._task.eval_docs.features)
            missing = [name for name in columns if doc[name] is None]
            broken = [name for name in columns if isinstance(doc[name], BrokenPicture)]
            reason = _told(error)
            if missing and not broken:
                reason = f"no picture in column {missing[0]} ({reason})"
            return {"error": f"row {row}: {reason}"}

    def _parts(self, message: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for part in content:
            if part["type"] == "text":
                yield {"text": part["text"]}
            elif part["type"] == "image":
                yield {"picture": str(self._kept(part["url"]))}
            else:
                raise UserError(f"it shows {part['type']}, which no model here takes")

    def _kept(self, picture: Any) -> Path:
        """A picture as PNG in the scratch folder, named by its pixels."""
        image = picture if isinstance(picture, Image.Image) else Image.open(picture)
        image = image.convert("RGB")
        digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:32]
        path = self._scratch / f"{digest}.png"
        if not path.exists():
            image.save(path, compress_level=1)
        return path

    def judge(self, *, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """For each {row, text, replies}: the grader's `metrics` with its `values`, or `asks`, the
        question for a judge whose reply is missing, or `unscored`, the reason."""
        return [self._judged(**answer) for answer in answers]

    def _judged(self, *, row: int, text: str, replies: Mapping[str, str]) -> dict[str, Any]:
        doc = self._docs[row]
        target = self._target(doc)
        found: dict[str, Any] = {"notes": grades.notes_on(text, target), "expected": str(target)}
        try:
            with answered(replies):
                metrics = self._graded(row, doc, text)
                found["metrics"] = {key: grades.packed(value) for key, value in metrics.items()}
                if self._evaluator is not None:
                    option = mmbench.read_option(self._evaluator, metrics[mmbench.METRIC])
                    right = option == metrics[mmbench.METRIC]["answer"]
                    return {**found, "values": {mmbench.METRIC: float(right)}}
        except Unanswered as asked:
            if asked.messages is None:
                return {**found, "unscored": asked.reason}
            ask = {"key": asked.key, "messages": asked.messages, "max_tokens": asked.max_tokens}
            return {**found, "asks": ask}
        except Undecided:
            return {**found, "unscored": "the judge's answer names no option"}
        except Exception as error:  # noqa: BLE001 - a document that its grader fails on
            return {**found, "unscored": f"row {row}: the grader failed: {_told(error)}"}
        return {**found, "values": self._values(metrics)}

    def _graded(self, row: int, doc: Any, text: str) -> dict[str, Any]:
        """What lmms-eval's own code makes of one answer: filters, then the task's grader."""
        task = self._task
        meta = {"task": task.config.task, "doc_id": row, "repeats": 1}
        instance = Instance(request_type="generate_until", arguments=(), idx=0, metadata=meta)
        instance.resps.append(text)
        tags = parse_reasoning_tags_config(task_value=task.config.reasoning_tags)
        found: dict[str, Any] = {}
        for ensemble in task._filters:
            steps = list(ensemble.filters)
            if task.config.auto_strip_thinking and tags is None:
                ensemble.filters = [StripThinkingFilter(), *steps]
            ensemble.apply([instance], [doc])
            ensemble.filters = steps
            item = (row, copy.deepcopy(doc), [instance])
            processed = _process_document_results(
                item, task=task, filter_key=ensemble.name, reasoning_tags=tags, log_samples=False
            )
            for metric, value in processed.metrics.items():
                found[self._name(metric, ensemble.name)] = value
        return found

    def _name(self, metric: str, filter_name: str) -> str:
        return metric if len(self._task._filters) == 1 else f"{metric},{filter_name}"

    def _values(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        known = self._task.aggregation()
        found = {
            name: grades.number_of(value, known[name.partition(",")[0]])
            for name, value in metrics.items()
            if name.partition(",")[0] in known and "submission" not in name
        }
        return {name: value for name, value in found.items() if value is not None}

    def _target(self, doc: Any) -> Any:
        try:
            return self._task.doc_to_target(doc)
        except Exception:  # noqa: BLE001 - what is wrong with a document, its grader will tell
            return ""

    def aggregate(
        self, *, rows: Sequence[Mapping[str, Any]], groups: int
    ) -> dict[str, dict[str, Any]]:
        """For each metric its value over documents, how many there are in it, and the values when
        a group of clusters is left out, of `groups`.

        A row is {row, cluster, metrics or None, decided, replies}.
        """
        replies = {key: text for row in rows for key, text in row["replies"].items()}
        rows = self._settled([{**row, "metrics": grades.unpacked(row["metrics"])} for row in rows])
        known = self._task.aggregation()
        names = dict.fromkeys(name for row in rows for name in row["metrics"])
        found = {}
        for name in names:
            if (aggregate := known.get(name.partition(",")[0])) is None:
                continue
            mine = [row for row in rows if name in row["metrics"]]
            fit = grades.paired_rows(aggregate, [row["metrics"][name] for row in mine])
            mine = [row for row, fits in zip(mine, fit, strict=True) if fits]
            result = self._number(name, aggregate, mine, replies=replies, groups=groups)
            if result is not None:
                found[name] = result
        return found

    def _settled(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows that aggregators are given: all with a score, and those of MMBench without one whose
        question another row settles."""
        if self._evaluator is None:
            return [row for row in rows if row["decided"]]
        index = self._docs.select_columns(["index"])
        known = [row["metrics"][mmbench.METRIC] if row["decided"] else None for row in rows]
        fine = mmbench.settled(self._evaluator, known, [index[row["row"]]["index"] for row in rows])
        return [row for row, fits in zip(rows, fine, strict=True) if fits and row["metrics"]]

    def _number(
        self,
        name: str,
        aggregate: Any,
        rows: Sequence[Mapping[str, Any]],
        *,
        replies: Mapping[str, str],
        groups: int,
    ) -> dict[str, Any] | None:
        values = [row["metrics"][name] for row in rows]

        def number(kept: Sequence[Any], *, output: str, whole: bool) -> float | None:
            call = grades.called if whole else grades.tried
            found = call(aggregate, kept, output=output, replies=replies)
            scale = grades.scale_of(aggregate, kept=len(kept), asked=len(values))
            return found if found is None or scale == 1.0 else found * scale

        try:
            # A limit may leave an aggregator what it cannot take; all documents may not.
            whole = len(rows) == len(self._docs)
            value = number(values, output=str(self._scratch / "output"), whole=whole)
        except (Unanswered, Undecided) as error:
            raise UserError(
                f"lmms-eval asks a judge for {name} after all answers are graded, which cannot be "
                "answered here."
            ) from error
        if value is None:
            return None
        found: dict[str, Any] = {"value": value, "n": len(rows), "without": None, "each": None}
        if grades.is_mean(aggregate):
            clusters = [row["cluster"] for row in rows]
            found["each"] = {"values": values, "clusters": clusters}
        else:
            kept = grades.deletions([row["cluster"] for row in rows], groups=groups)
            output = str(self._scratch / "without")
            found["without"] = [
                number([values[i] for i in rows], output=output, whole=False) for rows in kept
            ]
        return found


def _folders() -> dict[str, Path]:
    """Folders of tasks and groups by name, without parsing 2,000 files of YAML."""
    named = re.compile(r"(?m)^(?:task|group):\s*[\"']?([\w.+-]+)[\"']?\s*$")
    found: dict[str, Path] = {}
    for path in sorted(Path(lmms_eval.tasks.__file__).parent.rglob("*.yaml")):
        for name in named.findall(path.read_text(encoding="utf-8", errors="replace")):
            found.setdefault(name, path.parent)
    return found


_FOLDERS = _folders()


def _folder_of(task: str) -> Path:
    """Raises UserError when there is no such task, naming those that are near."""
    if task not in _FOLDERS:
        near = difflib.get_close_matches(task, _FOLDERS, n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"lmms-eval {version('lmms_eval')} has no task {task}.{hint}")
    return _FOLDERS[task]


def _config_of(task: str, manager: TaskManager) -> dict[str, Any]:
    """The task's configuration. Raises UserError for what cannot be driven."""
    kind = manager.task_index.get(task, {"type": "nothing"})["type"]
    if kind not in ("task", "python_task"):
        members = sorted(name for name in manager.all_subtasks if name.startswith(task))
        raise UserError(
            f"{task} is a group of lmms-eval's, not a task.",
            fix=f"Name its tasks, e.g. lmms:{members[0]}." if members else "",
        )
    config: dict[str, Any] = manager._get_config(task)
    output = config.get("output_type", "generate_until")
    if output in ("loglikelihood", "multiple_choice"):
        raise UserError(
            f"lmms:{task} compares likelihoods, which lmms-eval {version('lmms_eval')} gets wrong: "
            "it hands the grader each (likelihood, is greedy) as a string.",
            fix="Where lm-eval has the task, lm:TASK runs it.",
        )
    if output not in _KINDS:
        raise UserError(f"lmms:{task} is of kind {output}; only generate_until can be driven here.")
    if int(config.get("repeats") or 1) > 1:
        raise UserError(f"lmms:{task} asks each question {config['repeats']} times.")
    return copy.deepcopy(config)


def _loaded(task: str, manager: TaskManager) -> Any:
    """The task as `simple_evaluate` makes it for a chat model."""
    original = manager._get_config

    def with_our_join(name: str) -> dict[str, Any]:
        config = original(name)
        if getattr(config.get("process_docs"), "__name__", "") == "gqa_process_docs":
            config["process_docs"] = join_gqa
        return dict(config)

    manager._get_config = with_our_join
    found = manager.load_task_or_group([task], "chat")[task]
    if found.config.num_fewshot is None:
        found.set_config(key="num_fewshot", value=0)
    found.set_fewshot_seed(seed=_FEWSHOT_SEED)
    found.args = None
    return found


def _hash_of(folder: Path) -> str:
    """Identity of a task's prompts and grader: every file beside its YAML."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in ("", ".yaml", ".py", ".json", ".txt"):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cluster(task: Any, doc: Mapping[str, Any]) -> str:
    """What shares a cluster besides a picture: the two questions of an MMVP pair."""
    if "mmvp_pair_accuracy" not in task.aggregation():
        return ""
    return f"pair {(int(doc['Index']) - 1) // 2}"


def _json_like(value: Any) -> Any:
    """Documents hold dates and bytes, too."""
    if isinstance(value, Mapping):
        return {str(key): _json_like(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_like(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return repr(value)


def _told(error: BaseException) -> str:
    what = error.what if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return " ".join(what.split())[:300]
