"""Our side of a session with lmms-eval: what a task is, and its scratch folder."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from unimm_eval.tasks.child import library

_SERVER = "unimm_eval.tasks.lmms.server"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What lmms-eval says of a task: whether higher is better, by metric; arguments of generation;
    a hash of prompts and grader; the data's repository, what was loaded of each repository, and the
    newest commit where that is another one."""

    metrics: Mapping[str, bool]
    generation: Mapping[str, Any]
    grader: str
    lmms_eval: str
    repository: str
    revisions: Mapping[str, str]
    moved: Mapping[str, str]


class Evaluator:
    """A process of lmms-eval's with one task open. Close it, or use it as a context manager."""

    def __init__(
        self,
        *,
        task: str,
        source: Path | None,
        revision: str | None,
        revisions: Mapping[str, str],
        settled: bool,
    ) -> None:
        """`settled`: `revisions` are what an evaluator of this task opened before.

        Raises UserError when there is no such task, or its data is not to be had.
        """
        self._scratch = Path(tempfile.mkdtemp(prefix="unimm-eval-lmms-"))
        try:
            self._session = library(_SERVER).session()
            found = self._session.call(
                "open",
                task=task,
                scratch=str(self._scratch),
                source=None if source is None else str(source.resolve()),
                revision=revision,
                revisions=dict(revisions),
                settled=settled,
            )
        except BaseException:
            self.close()
            raise
        self.opened = Opened(**found)

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if hasattr(self, "_session"):
            self._session.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        return self._session.stream("rows")

    def questions(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._session.call("questions", rows=list(rows))
        return found

    def judge(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._session.call("judge", answers=list(answers))
        return found

    def aggregate(
        self, rows: Sequence[Mapping[str, Any]], *, groups: int
    ) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self._session.call(
            "aggregate", rows=list(rows), groups=groups
        )
        return found

    def submissions(self) -> dict[str, bytes]:
        """Files that the aggregators wrote, by name."""
        files = sorted(path for path in (self._scratch / "output").rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}


class Revisions:
    """The commits of data sets that this machine uses: those of the first time, kept in a file."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "lmms" / "revisions.json"

    def read(self) -> dict[str, str]:
        if not self._path.exists():
            return {}
        found: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        return found

    def keep(self, revisions: Mapping[str, str]) -> None:
        """Remember commits of the hub that are not known yet."""
        known = self.read()
        commits = {name: value for name, value in revisions.items() if len(value) == 40}
        if commits.keys() <= known.keys():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**commits, **known}, indent=2, sort_keys=True)
        part = self._path.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.replace(self._path)
