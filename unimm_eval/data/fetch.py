"""Benchmark files from the network: resumable, checked, never half there.

A file is written to a hidden `.part` beside its place and renamed when it is the pinned one, so
whoever looks sees the right file or none. A `.part` that an interruption left is gone on with by an
HTTP range when the content is pinned, or when the server says by its ETag that it still has the
same file; else nothing says that both halves are of one file, and it is begun anew. Proxies are
taken from the environment (HTTPS_PROXY, NO_PROXY), as httpx does.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unimm_eval.api import UserError
from unimm_eval.data.files import ENVIRONMENT, DataFile, mismatch, sha256_file, verify

if TYPE_CHECKING:
    import httpx

Fetching = Callable[[DataFile, int, int | None], None]
"""Called as (file, bytes that are here, bytes in all where known)."""

_TRIES = 3
_TIMEOUT_S = 60.0


class _FetchError(Exception):
    """A file did not come; the message says why."""


def fetch(files: Sequence[DataFile], folder: Path, *, watch: Fetching) -> list[Path]:
    """Get each file that is not there yet into `folder`; the paths of all, in order.

    Raises one UserError that names each file that could not be had, its place and its hash.
    """
    import httpx

    failed: list[str] = []
    with httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S) as client:
        for file in files:
            try:
                _fetch_one(file, folder, client=client, watch=watch)
            except _FetchError as error:
                failed.append(f"{file.url}: {error}\n  belongs at {file.path(folder)} ({file.pin})")
            except OSError as error:
                raise UserError(
                    f"{file.path(folder)} cannot be written: {error.strerror}.",
                    fix=f"Name another folder with --data-dir or ${ENVIRONMENT}.",
                ) from error
    if failed:
        raise UserError(
            f"{len(failed)} of {len(files)} files could not be fetched:\n" + "\n".join(failed),
            fix="The same command goes on where it stopped. Where there is no network, get them "
            f"elsewhere, put them there, or name their folder with --data-dir or ${ENVIRONMENT}.",
        )
    return [file.path(folder) for file in files]


def _fetch_one(file: DataFile, folder: Path, *, client: "httpx.Client", watch: Fetching) -> None:
    path = file.path(folder)
    if path.is_file():
        try:
            verify(file, folder)
        except UserError as error:
            raise _FetchError(f"{error.what} It was left as it is; remove it first.") from error
        watch(file, path.stat().st_size, path.stat().st_size)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    _download(file, part, client=client, watch=watch)
    size = part.stat().st_size
    if file.size not in (None, size):
        part.unlink()
        raise _FetchError(f"{size:,} bytes came instead of {file.size:,}")
    if wrong := mismatch(file, part, record=file.record(folder)):
        part.unlink()
        raise _FetchError(f"what came {wrong}")
    if not (file.sha256 or file.git_blob) and not file.record(folder).exists():
        file.record(folder).write_text(f"{sha256_file(part)}  {path.name}\n", encoding="ascii")
    part.replace(path)
    _tag_of(part).unlink(missing_ok=True)


def _tag_of(part: Path) -> Path:
    """Where the ETag of a part stands."""
    return part.with_name(f"{part.name}.etag")


def _download(file: DataFile, part: Path, *, client: "httpx.Client", watch: Fetching) -> None:
    """Bytes of the URL into `part`, going on where it ends. Raises _FetchError."""
    import httpx

    for left in reversed(range(_TRIES)):
        try:
            return _stream(file, part, client=client, watch=watch)
        except httpx.HTTPStatusError as error:
            answer = error.response
            if left and answer.status_code >= 500:
                continue
            raise _FetchError(f"{answer.status_code} {answer.reason_phrase}".strip()) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if not left or isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol):
                raise _FetchError(f"{type(error).__name__}: {error}") from error
    return None


def _stream(file: DataFile, part: Path, *, client: "httpx.Client", watch: Fetching) -> None:
    here = part.stat().st_size if part.exists() else 0
    if file.size is not None and here >= file.size:
        here = 0  # whole but not renamed, or wrong: the hash of a new one will tell
    headers = {"Accept-Encoding": "identity"}
    tag = _tag_of(part)
    if here and tag.exists():
        headers["If-Range"] = tag.read_text(encoding="ascii")
    elif not (file.sha256 or file.git_blob):
        here = 0
    if here:
        headers["Range"] = f"bytes={here}-"
    with client.stream("GET", file.url, headers=headers) as answer:
        if here and answer.status_code == 416:  # nothing is left of it
            part.unlink()
            return _stream(file, part, client=client, watch=watch)
        answer.raise_for_status()
        goes_on = here > 0 and answer.status_code == 206
        done = here if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else file.size
        if not goes_on:
            _keep_tag(answer.headers.get("ETag", ""), tag)
        with part.open("ab" if goes_on else "wb") as target:
            for chunk in answer.iter_raw():
                target.write(chunk)
                done += len(chunk)
                if file.size is not None and done > file.size:
                    raise _FetchError(f"more than the {file.size:,} bytes it should have")
                watch(file, done, total)
            target.flush()
            os.fsync(target.fileno())
    return None


def _keep_tag(value: str, path: Path) -> None:
    """Remember a strong ETag; a weak one does not promise equal bytes."""
    if value.startswith('"') and value.isascii():
        path.write_text(value, encoding="ascii")
    else:
        path.unlink(missing_ok=True)
