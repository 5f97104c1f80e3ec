"""One run as a page.

`build_report` reads the folder of a finished run and writes `report.html` beside its record: one
file that loads nothing, with the results, a gallery of outputs with wrong answers first, loss by
time, settings and versions. Whatever comes from a model or a data set is escaped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unimm_eval.api import Task

REPORT_FILE = "report.html"


def build_report(folder: str | Path, *, tasks: "Sequence[Task]" = ()) -> Path:
    """Write the report of a finished run and return its path.

    Tasks that were given to `evaluate` as objects must be given again in `tasks`. Raises UserError
    when `folder` is not the folder of a finished run or cannot be written.
    """
    from unimm_eval.engine.files import write_atomic
    from unimm_eval.engine.load import load_run
    from unimm_eval.report.contents import contents_of
    from unimm_eval.report.page import render

    run = load_run(folder, tasks=tasks)
    path = run.folder / REPORT_FILE
    write_atomic(path, render(contents_of(run)).encode("utf-8"))
    return path
