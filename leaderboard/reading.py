"""The results folder, read: records, reported rows, and what is left out with the reason."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import (
    REPORTED_FOLDER,
    ReportedRow,
    RunRecord,
    UserError,
    load_record,
    load_reported,
    scores_file,
)
from unimm_eval.leaderboard.catalogue import LeftOut
from unimm_eval.leaderboard.entries import Entry
from unimm_eval.records.check import Installed, check_record
from unimm_eval.records.layout import published
from unimm_eval.report.plain import one_line

REASON_LIMIT = 400


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was found."""

    entries: tuple[Entry, ...]
    reported: tuple[ReportedRow, ...]
    left_out: tuple[LeftOut, ...]


def read_results(folder: Path) -> Results:
    """Everything below `folder` that can be shown. Raises UserError where there is no folder."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder of results.",
            fix="Name it with --results; unimm-eval publish RUN writes into one.",
        )
    entries: list[Entry] = []
    reported: list[ReportedRow] = []
    left_out: list[LeftOut] = []

    def leave_out(path: Path, reason: str) -> None:
        """The site does not tell where the results were."""
        told = one_line(reason.replace(f"{folder}/", ""), limit=REASON_LIMIT)
        name = one_line(path.relative_to(folder).as_posix(), limit=REASON_LIMIT)
        left_out.append(LeftOut(name=name, reason=told))

    installed = Installed()
    runs: dict[tuple[str, str], str] = {}
    for path in published(folder):
        name = path.relative_to(folder).as_posix()
        try:
            record = load_record(path)
            _check_scores(path, record)
        except UserError as error:
            leave_out(path, error.what)
            continue
        run = (record.model.fingerprint, record.run.plan_hash)
        if runs.setdefault(run, name) != name:
            leave_out(path, f"it is the run of {runs[run]} once more")
            continue
        problems = check_record(folder, path, record, installed=installed, read_scores=False)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            leave_out(path, problems[0] + more)
            continue
        entries.append(Entry(name=name, path=path, record=record))
    for path in sorted((folder / REPORTED_FOLDER).glob("*.yaml")):
        try:
            reported += load_reported(path)
        except UserError as error:
            leave_out(path, error.what)
    return Results(entries=tuple(entries), reported=tuple(reported), left_out=tuple(left_out))


def _check_scores(path: Path, record: RunRecord) -> None:
    """Raise UserError unless the scores beside a record are those that it names."""
    for task, scores in record.scores.items():
        try:
            found = hashlib.sha256(scores_file(path, task).read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(f"its scores of {task} cannot be read: {error.strerror}") from error
        if found != scores.sha256:
            raise UserError(f"its scores of {task} are not those it names: cut off or changed")
