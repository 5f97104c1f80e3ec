"""Which commit of a data set is measured, when nobody published one.

None of the sixteen is pinned by its benchmark. The commit that the hub has on the first use is
written down beside the other data and holds from then on; when the hub has moved since, the record
says so, and `--set TASK.revision=COMMIT` follows it.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import UserError

_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The commit that is used, and the hub's newest where that is another one."""

    repository: str
    commit: str
    moved_to: str | None = None


def resolve(
    repositories: Sequence[str], *, wanted: str | None, folder: Path, task: str
) -> Revision:
    """The commit of the first of `repositories` that the hub has.

    `wanted` is a commit, branch or tag that the user or the card names. Raises UserError when there
    is neither an answer of the hub nor a commit from before.
    """
    if wanted is not None and _COMMIT.fullmatch(wanted):
        return Revision(repository=repositories[0], commit=wanted)
    reasons: list[str] = []
    for repository in repositories:
        noted = folder / f"{repository.replace('/', '--')}.txt"
        before = noted.read_text(encoding="ascii").strip() if noted.is_file() else None
        try:
            newest = _commit(repository, wanted)
        except UserError as error:
            reasons.append(error.what)
            if wanted is None and before is not None:
                return Revision(repository=repository, commit=before)
            continue
        if wanted is not None:
            return Revision(repository=repository, commit=newest)
        if before is None:
            _note(noted, newest)
            before = newest
        moved = newest if newest != before else None
        return Revision(repository=repository, commit=before, moved_to=moved)
    raise UserError(
        f"The data of {task} cannot be had:\n" + "\n".join(reasons),
        fix=f"Where there is no network, name a copy: --set {task}.path=FOLDER",
    )


def _commit(repository: str, revision: str | None) -> str:
    """The hub's commit of a revision, by default of the newest. Raises UserError."""
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = huggingface_hub.HfApi().dataset_info(repository, revision=revision, timeout=30)
    except (OSError, ValueError, httpx.HTTPError, HfHubHTTPError) as error:
        brief = " ".join(str(error).split())[:200]
        raise UserError(f"{repository}: {brief}") from error
    if not found.sha:
        raise UserError(f"{repository}: the hub names no commit")
    return str(found.sha)


def _note(path: Path, commit: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(f"{commit}\n", encoding="ascii")
    part.replace(path)
