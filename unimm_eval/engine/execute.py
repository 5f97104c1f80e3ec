"""A run's tasks, one after the other: produce → store → judge → store → summarize.

What a task's own code raises stops that task alone: it is collected, the other tasks run, and all
of it is raised at the end. What the store raises (a full disk) stops the run.
"""

import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from unimm_eval.api import (
    Context,
    DefectError,
    IncompleteError,
    Item,
    Output,
    Result,
    ScoresFile,
    UserError,
    scores_file,
    scores_to_parquet,
)
from unimm_eval.engine.ask import Asker
from unimm_eval.engine.behind import Behind
from unimm_eval.engine.export import checked, write_exports
from unimm_eval.engine.files import write_atomic
from unimm_eval.engine.plan import PlannedTask, key_of
from unimm_eval.engine.problems import joined
from unimm_eval.engine.produce import produce
from unimm_eval.engine.progress import Progress
from unimm_eval.engine.results import rows_of
from unimm_eval.engine.run import RunFolder
from unimm_eval.engine.scoring import EarlyScores, Scoring, judge
from unimm_eval.engine.stopped import TaskStopped, guarded, task_code


def execute(
    planned: Sequence[PlannedTask],
    askers: Mapping[str, Asker],
    *,
    scoring: Scoring,
    overlap: bool,
    folder: RunFolder,
    model_keys: Mapping[str, str],
    context: Context,
    progress: Progress,
) -> tuple[list[Result], dict[str, ScoresFile]]:
    """Run every task to its end and return the rows of the record, and by task what it says of the
    file with the scores. `askers` and the keys that outputs are kept under are by task; a task
    without one has all of its outputs already. With `overlap` outputs are judged while more are
    made.

    Raises DefectError when a task raised, its own UserError when that is what it raised; whatever
    was computed is in the store by then.
    """
    files: dict[str, ScoresFile] = {}
    stopped: dict[str, Exception] = {}

    def finish(entry: PlannedTask) -> list[Result]:
        rows: list[Result] = []
        try:
            judge(entry, scoring=scoring, store=folder.store, progress=progress)
            rows, files[entry.name] = summarize(entry, folder=folder, progress=progress)
        except TaskStopped as stop:
            stopped[entry.name] = stop.error
        progress.task_finished(entry.name, rows)
        return rows

    with Behind(wait=not overlap) as behind:
        finished: list[Future[list[Result]]] = []
        for entry in planned:
            progress.task_started(entry.name)
            early = EarlyScores(entry, scoring=scoring, store=folder.store, behind=behind)
            try:
                folder.store.set_samples(entry.name, entry.samples)
                produce(
                    entry,
                    askers.get(entry.name),
                    folder=folder,
                    model_key=model_keys[entry.name],
                    context=context,
                    progress=progress,
                    stored=early.add if overlap else _nothing,
                )
            except TaskStopped as stop:
                stopped[entry.name] = stop.error
                progress.task_finished(entry.name, [])
            else:
                finished.append(behind.submit(finish, entry))
        results = [row for future in finished for row in future.result()]
    if stopped:
        raise _failure(stopped, folder)
    return results, files


def summarize(
    entry: PlannedTask, *, folder: RunFolder, progress: Progress
) -> tuple[list[Result], ScoresFile]:
    """Rows of the record from what is in the store; writes the scores' file and
    `exports/<task>/`."""
    progress.phase(entry.name, "summarize", total=0, done=0)
    outputs = folder.store.outputs(entry.name)
    scores = folder.store.scores(entry.name, entry.task.judge_identity())
    rows = [(item.sample, outputs[key_of(item)], scores[key_of(item)]) for item in entry.items]
    with task_code():
        reasons = [score.unscored for _, _, score in rows if score.unscored is not None]
        if len(reasons) == len(rows):
            raise IncompleteError(
                f"Task {entry.name}: none of {len(rows)} outputs could be scored: {reasons[0]}"
            )
        metrics = entry.task.summarize([row[0] for row in rows], [row[2] for row in rows])
        results = rows_of(entry, metrics)
    data, file = scores_to_parquet(rows)
    write_atomic(scores_file(folder.path, entry.name), data)
    exports = guarded(checked(entry.task.export(rows)))
    write_exports(folder.path / "exports" / entry.name.replace("/", "_"), exports)
    return results, file


def _failure(stopped: dict[str, Exception], folder: RunFolder) -> Exception:
    """What to raise once the other tasks ran; tracebacks of defects go to the log."""
    errors = [error for error in stopped.values() if isinstance(error, UserError)]
    defects = {task: error for task, error in stopped.items() if not isinstance(error, UserError)}
    if not defects:
        return joined(errors)
    lines = [str(error) for error in errors]
    for task, error in defects.items():
        log = folder.log_error(task, "".join(traceback.format_exception(error)))
        lines.append(f"Task {task} failed: {type(error).__name__}: {error}. Traceback: {log}")
    lines.append(f"What was computed is kept in {folder.path}.")
    return DefectError("\n".join(lines))


def _nothing(items: Sequence[Item], outputs: Sequence[Output]) -> None:
    """Outputs are judged when all of them are there."""
