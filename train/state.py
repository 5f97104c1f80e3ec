"""Training state on disk: folders `state-<step>`, written aside, synced and renamed.

Each holds the tensors of all ranks as DCP shards in safetensors (torch.distributed.checkpoint),
which any number of ranks in any layout can read, and `state.json`: the step, the recipe's identity,
plain numbers, and the SHA-256 of each file. A kill or a full disk at any moment leaves the states
before it whole; one that was damaged later is noticed, named and passed over.
"""

import contextlib
import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from unimm_eval.api import IncompleteError, UserError
from unimm_eval.model.checkpoint import file_sha256
from unimm_eval.train.parallel import Ranks

STATE = "state.json"

# A process by itself saves and loads as ranks do; DCP warns of that each time.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a state says besides its tensors; `warnings` name the newer ones that are damaged."""

    step: int
    values: dict[str, float]
    warnings: list[str]


class States:
    """The states of a run's folder, of which the last `keep` stay.

    With `asynchronous`, `save` copies the tensors to the CPU and returns while they are written; an
    error is raised by the next `save` or by `wait`. All ranks call all methods alike.
    """

    def __init__(
        self, folder: Path, ranks: Ranks, *, keep: int = 2, asynchronous: bool = False
    ) -> None:
        self.folder, self.ranks, self.keep, self.asynchronous = folder, ranks, keep, asynchronous
        self._group = ranks.new_group()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self, *, step: int, tensors: dict[str, Tensor], values: Mapping[str, float], identity: str
    ) -> None:
        """Write the state after `step` steps. Raises IncompleteError, the state before it in place,
        when it cannot be written."""
        from torch.distributed import checkpoint as dcp

        self.wait()
        path = self.folder / f"state-{step:07d}"
        partial = path.with_suffix(".partial")
        if self.ranks.first:
            shutil.rmtree(partial, ignore_errors=True)
        self.ranks.wait()
        writer = dcp.HuggingFaceStorageWriter(str(partial), save_distributed=True)
        arguments: dict[str, Any] = {
            "storage_writer": writer,
            "process_group": self._group,
            "no_dist": self.ranks.size == 1,
        }
        content = {"step": step, "recipe": identity, "values": dict(values)}
        with self._failing_as(path, partial):
            if not self.asynchronous:
                dcp.save(tensors, **arguments)
                self._commit(path, partial, content)
                return
            future = dcp.async_save(tensors, **arguments)
            assert isinstance(future, Future)  # another answer is for other stagers
        self._thread = threading.Thread(
            target=self._write_on, args=(future, path, partial, content), name="saving-state"
        )
        self._thread.start()

    def wait(self) -> None:
        """Until what is being written stands. Raises IncompleteError where it could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def load(self, tensors: dict[str, Tensor], *, identity: Callable[[int], str]) -> Loaded | None:
        """Read the newest whole state into `tensors`; None where there is none.

        `identity` gives what the state after a step must have been saved with. Raises UserError
        when it belongs to another recipe, or when there are states and none is whole.
        """
        damaged: list[str] = []
        for path in reversed(self._saved()):
            content, problem = self._checked(path)
            if not problem:
                if content["recipe"] != identity(content["step"]):
                    raise UserError(
                        f"{path}: this state belongs to another recipe",
                        fix="Train in another --output folder, or use the recipe it was started "
                        "with.",
                    )
                problem = self._read(path, tensors)
            if not problem:
                return Loaded(step=content["step"], values=content["values"], warnings=damaged)
            damaged.append(f"{path.name} is damaged ({problem})")
        damaged += [
            f"{path.name} is of an older format" for path in self.folder.glob("state-*.safetensors")
        ]
        if damaged:  # beginning anew would throw away the log of what was trained
            raise UserError(
                f"{self.folder}: no state is whole: {'; '.join(damaged)}",
                fix="Bring a whole state back, or train in another --output folder.",
            )
        return None

    def _saved(self) -> list[Path]:
        """From the oldest to the newest."""
        return sorted(path for path in self.folder.glob("state-*") if path.suffix == "")

    def _checked(self, path: Path) -> tuple[dict[str, Any], str]:
        """What `state.json` says, and what is wrong with the files, in all ranks' words."""
        content: dict[str, Any] = {}
        problem = ""
        try:
            content = json.loads((path / STATE).read_text(encoding="utf-8"))
            files = sorted(content["files"].items())
            for name, sha256 in files[self.ranks.rank :: self.ranks.size]:
                if file_sha256(path / name) != sha256:
                    problem = f"{name} is not what was written"
                    break
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = str(error) or type(error).__name__
        return content, next(filter(None, self.ranks.gather(problem)), "")

    def _read(self, path: Path, tensors: dict[str, Tensor]) -> str:
        """Read the tensors; returns what is wrong with them."""
        from torch.distributed import checkpoint as dcp

        reader = dcp.HuggingFaceStorageReader(str(path))
        try:
            dcp.load(
                tensors,
                storage_reader=reader,
                process_group=self._group,
                no_dist=self.ranks.size == 1,
            )
        except dcp.CheckpointException as error:
            return _cause(error)
        return ""

    def _write_on(
        self, future: Future[Any], path: Path, partial: Path, content: dict[str, Any]
    ) -> None:
        """The rest of an asynchronous save, in a thread of its own."""
        try:
            with self._failing_as(path, partial):
                future.result()
                self._commit(path, partial, content)
        except BaseException as error:  # noqa: BLE001 - raised by `wait`
            self._error = error

    def _commit(self, path: Path, partial: Path, content: dict[str, Any]) -> None:
        """Make what all ranks have written a state, and remove those that are too old."""
        names = sorted(file.name for file in partial.iterdir())
        mine = {
            name: file_sha256(partial / name) for name in names[self.ranks.rank :: self.ranks.size]
        }
        files = {
            k: v for part in self.ranks.gather(mine, group=self._group) for k, v in part.items()
        }
        failure = ""
        if self.ranks.first:
            try:
                _write_synced(partial / STATE, json.dumps({**content, "files": files}, indent=1))
                _sync(partial)
                shutil.rmtree(path, ignore_errors=True)  # a damaged one, trained anew
                os.replace(partial, path)
                _sync(self.folder)
            except OSError as error:
                failure = str(error)
        if failure := self.ranks.gather(failure, group=self._group)[0]:
            raise OSError(failure)
        if self.ranks.first:
            saved = self._saved()
            newest = saved.index(path)  # newer ones were damaged, and are trained anew
            for other in saved[: max(newest + 1 - self.keep, 0)] + saved[newest + 1 :]:
                shutil.rmtree(other, ignore_errors=True)

    @contextlib.contextmanager
    def _failing_as(self, path: Path, partial: Path) -> Iterator[None]:
        from torch.distributed.checkpoint import CheckpointException

        try:
            yield
        except (OSError, CheckpointException) as error:
            if self.ranks.first:
                shutil.rmtree(partial, ignore_errors=True)
            raise IncompleteError(
                f"{path} cannot be written ({_cause(error)}); the state before it is kept",
                fix="Make room and give the same command to go on.",
            ) from error


def _cause(error: BaseException) -> str:
    """What went wrong on the first rank that failed."""
    for cause, _ in getattr(error, "failures", {}).values():
        return f"{type(cause).__name__}: {cause}"
    return str(error)


def _write_synced(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Let the names in a folder stand on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
