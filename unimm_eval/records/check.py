"""What is asked of every published record, by `publish` and by the tests over all of `results/`.

A number stands in the table only if anybody can tell what it is of: the model by its fingerprint,
the protocol by a card that is installed, the questions by their count, the value by scores whose
hash the record names. Everything that is amiss is told at once.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimm_eval.api import (
    Card,
    Result,
    RunRecord,
    Task,
    UserError,
    content_hash,
    hash_in_unit,
    load_record,
    load_scores,
    record_folder,
    record_to_json,
    scores_file,
)
from unimm_eval.api.tasks import MetricSpec
from unimm_eval.engine.groups import group_rows
from unimm_eval.engine.registry import TaskEntry, find_tasks, group_entries, task_entries
from unimm_eval.engine.run import differences
from unimm_eval.records.layout import (
    MAX_FILE_BYTES,
    MAX_NAME,
    MAX_RECORD_BYTES,
    MAX_RUN_BYTES,
    MEDIA_FOLDER,
    model_folders,
    published,
    record_path,
)

_PICTURE = re.compile(r"[0-9a-f]{64}\.png")
_FOLDER = re.compile(r'"(/(home|root|Users|mnt|tmp|var)/[^"]{0,80})')
_PRIVATE = ("folder", "batches")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is amiss with a file of `results/`."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class Installed:
    """The tasks and groups that are installed here, each looked up once."""

    def __init__(self) -> None:
        self.groups = group_entries()
        self._entries = task_entries()
        self._found: dict[str, TaskEntry | None] = {}

    def entry(self, name: str) -> TaskEntry | None:
        if name not in self._found:
            try:
                (self._found[name],) = find_tasks([name], self._entries)
            except (UserError, ValueError):
                self._found[name] = None
        return self._found[name]

    def card(self, name: str) -> Card | None:
        entry = self.entry(name)
        return entry.card if entry else None

    def about_pictures(self, name: str) -> bool:
        """Whether a finetuned child, where there is one, answers a task."""
        entry = self.entry(name)
        return entry is not None and entry.load().about_pictures

    def hash_is_plain(self, name: str) -> bool:
        """Whether a task's protocol hash is made of its card, settings, data and judge alone."""
        entry = self.entry(name)
        return entry is not None and entry.load().protocol_hash is Task.protocol_hash


def check_results(results: str | Path) -> list[Problem]:
    """Everything that is amiss in a folder of published records."""
    results = Path(results)
    problems: list[Problem] = []
    records: list[tuple[str, RunRecord]] = []
    installed = Installed()
    for file in published(results):
        name = str(file.relative_to(results))
        try:
            record = load_record(file)
        except UserError as error:
            problems.append(Problem(file=name, what=error.what))
            continue
        records.append((name, record))
        found = check_record(results, file, record, installed=installed)
        problems += [Problem(file=name, what=what) for what in found]
    return problems + list(_strays(results)) + list(_duplicates(records))


def check_record(
    results: Path,
    file: Path,
    record: RunRecord,
    *,
    installed: Installed | None = None,
    read_scores: bool = True,
) -> list[str]:
    """What is amiss with one record that stands at `file` in `results`. Whoever checks many looks
    `installed` up once. Without `read_scores`, what can be told without opening its scores."""
    installed = installed or Installed()
    expected = record_path(record)
    wrong_place = [f"it belongs at {expected}"] if file.relative_to(results) != expected else []
    return [
        *wrong_place,
        *_identity(record),
        *_tasks(record, installed),
        *_numbers(record, installed),
        *(_scores(file, record, installed) if read_scores else ()),
        *_files(file, record),
    ]


def _identity(record: RunRecord) -> Iterator[str]:
    child = record.vqa_model
    for who, model in (("model", record.model), *([("child", child)] if child else [])):
        if not model.name.strip() or not model.name.isprintable() or len(model.name) > MAX_NAME:
            yield f"the {who}'s name must be a line of at most {MAX_NAME} characters"
        if not re.fullmatch(r"\S{4,200}", model.fingerprint):
            yield f"the {who} has no fingerprint"
        if model.spec.startswith(("/", "~", "\\")) or re.search(r"//[^/]*@", model.spec):
            yield f"the {who}'s spec names a private folder or a password"
    if not re.fullmatch(r"[0-9a-f]{1,64}", record.run.plan_hash):
        yield "the run has no plan hash"
    if child and not child.because.strip() and record.model.fingerprint not in child.parents:
        yield "the child does not come from the model, and nothing says why it counts as its child"
    private = [key for key in _PRIVATE if key in record.volatile]
    hardware = record.volatile.get("hardware")
    if private or (isinstance(hardware, dict) and "host" in hardware):
        yield "it names the machine or the folder that it was made on"
    if found := _FOLDER.search(record_to_json(record).decode()):
        yield f"it names a folder of a machine: {found.group()[1:]}"


def _tasks(record: RunRecord, installed: Installed) -> Iterator[str]:
    """Whether each task is one that is installed, as its card has it, and was asked whole."""
    if not record.run.tasks:
        yield "it is of no task"
    child = record.vqa_model.fingerprint if record.vqa_model else ""
    for name, asked in record.run.tasks.items():
        card = installed.card(name)
        if card is None:
            yield f"{name}: there is no such task here"
            continue
        apart = list(differences(asked.get("card"), card.pinned()))
        if apart:
            field, old, new = apart[0]
            yield f"{name}: its card is another: {field} is {old} there, {new} here"
        elif installed.hash_is_plain(name) and _protocol_hash(card, asked) != asked.get(
            "protocol_hash"
        ):
            yield f"{name}: its protocol hash does not follow from its card"
        if asked.get("answered_by", "") != (child if installed.about_pictures(name) else ""):
            yield f"{name}: it was answered by another model than such tasks of the run are"
        samples = asked.get("samples")
        if card.whole is not None and samples != card.whole:
            yield f"{name}: {samples} samples, of the {card.whole} that the protocol has"


def _numbers(record: RunRecord, installed: Installed) -> Iterator[str]:
    groups = installed.groups
    for row in record.results:
        what = f"{row.task}/{row.metric}"
        if row.task in groups and row.task not in record.run.tasks:
            again = group_rows([groups[row.task]], record.results)
            if row not in again:
                yield f"{what}: it does not follow from the numbers of its members"
            continue
        card = installed.card(row.task)
        if card is None:
            if row.task not in record.run.tasks:
                yield f"{what}: it is of a task that the run does not have"
            continue
        yield from (f"{what}: {reason}" for reason in _row(row, card, record))
    for name in record.run.tasks:
        if not any(row.task == name and row.headline for row in record.results):
            yield f"{name}: it has no headline number"


def _row(row: Result, card: Card, record: RunRecord) -> Iterator[str]:
    asked = record.run.tasks.get(row.task)
    if asked is None:
        yield "it is of a task that the run does not have"
        return
    # A card without metrics is of a family, whose tasks name theirs when they are run.
    spec = card.metrics.get(row.metric) if card.metrics else _spec_of(row)
    if spec is None:
        yield "the task has no such metric"
        return
    if row.mini != card.mini:
        yield f"it is {'mini' if card.mini else 'official'} and says otherwise"
    if row.limited:
        yield "it was measured with --limit"
    if row.protocol_hash != asked.get("protocol_hash"):
        yield "its protocol hash is not that of its task"
    if (row.direction, row.unit, row.range) != (spec.direction, spec.unit, spec.range):
        yield "its direction, unit or range is not that of the card"
    if row.answered_by != asked.get("answered_by", ""):
        yield "it says that another model answered than its task does"
    low, high = (
        (-math.inf if spec.range[0] is None else spec.range[0]),
        (math.inf if spec.range[1] is None else spec.range[1]),
    )
    if not low <= row.value <= high:
        yield f"{row.value} is not within {low} and {high}"
    if row.interval is not None and not row.interval[0] <= row.value <= row.interval[1]:
        yield f"{row.value} is outside of its own interval"
    if row.n < 1:
        yield "it is made of nothing"
    if card.metrics and row.headline != (row.metric == next(iter(card.metrics))):
        yield "the headline is another metric"


def _spec_of(row: Result) -> MetricSpec:
    return MetricSpec(direction=row.direction, unit=row.unit, range=row.range)


def _scores(file: Path, record: RunRecord, installed: Installed) -> Iterator[str]:
    for name, asked in record.run.tasks.items():
        said = record.scores.get(name)
        if said is None:
            yield f"{name}: the scores of its samples are missing"
            continue
        if said.samples != asked.get("samples") or said.rows != asked.get("outputs"):
            yield f"{name}: scores of {said.rows} outputs, {asked.get('outputs')} were asked for"
        card = installed.card(name)
        allowed = card.unscored if card else 0
        if said.unscored > allowed:
            yield f"{name}: {said.unscored} outputs have no score, {allowed} may"
        try:
            rows = load_scores(file, name)
        except UserError as error:
            yield error.what
            continue
        unscored = sum(row.score.unscored is not None for row in rows)
        if unscored != said.unscored:
            yield f"{name}: {unscored} outputs have no score, the record says {said.unscored}"


def _files(file: Path, record: RunRecord) -> Iterator[str]:
    """Whether what stands beside the record is what may, and no more than may."""
    folder = record_folder(file)
    known = {scores_file(file, name) for name in record.scores}
    total = file.stat().st_size
    if total > MAX_RECORD_BYTES:
        yield f"the record has {total:,} bytes, more than {MAX_RECORD_BYTES:,}"
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder)
        if path.is_symlink():
            yield f"{name} is a link"
            continue
        if path.is_dir():
            continue
        size = path.stat().st_size
        total += size
        if size > MAX_FILE_BYTES:
            yield f"{name} has {size:,} bytes, more than {MAX_FILE_BYTES:,}"
        elif path not in known and not _is_picture(path, folder / MEDIA_FOLDER):
            yield f"{name} does not belong to it"
    if total > MAX_RUN_BYTES:
        yield f"all of it has {total:,} bytes, more than {MAX_RUN_BYTES:,}"


def _is_picture(path: Path, media: Path) -> bool:
    return (
        path.parent.parent == media
        and path.parent.name == path.name[:2]
        and _PICTURE.fullmatch(path.name) is not None
        and content_hash(path.read_bytes()) == path.stem
    )


def _strays(results: Path) -> Iterator[Problem]:
    """Files and folders that belong to no record."""
    files = set(published(results))
    known = files | {record_folder(file) for file in files}
    for folder in model_folders(results):
        for path in sorted(folder.iterdir()) or [folder]:
            if path not in known:
                yield Problem(file=str(path.relative_to(results)), what="it belongs to no record")


def _duplicates(records: Iterable[tuple[str, RunRecord]]) -> Iterator[Problem]:
    """Runs that stand there twice, and models that stand there under two names."""
    runs: dict[tuple[str, str], str] = {}
    names: dict[str, tuple[str, str]] = {}
    for file, record in records:
        fingerprint = record.model.fingerprint
        first = runs.setdefault((fingerprint, record.run.plan_hash), file)
        if first != file:
            yield Problem(file=file, what=f"it is the run of {first} once more")
        name, other = names.setdefault(fingerprint, (record.model.name, file))
        if name != record.model.name:
            what = f"its model is called {name!r} in {other}; one model has one name"
            yield Problem(file=file, what=what)


def _protocol_hash(card: Card, asked: Mapping[str, Any]) -> str:
    overrides = asked.get("set")
    changed = dict(overrides) if isinstance(overrides, Mapping) else {}
    if identity := asked.get("data_identity"):
        changed["data"] = identity
    unit = asked.get("unit")
    found = card.protocol_hash(changed, str(asked.get("judge", "")))
    return hash_in_unit(found, unit) if isinstance(unit, Mapping) else found
