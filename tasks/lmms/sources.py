"""Where lmms-eval's data sets come from: the hub at one revision, or a folder; runs in the child.

lmms-eval pins no revision. Every `datasets.load_dataset` of a task, also those that it hard-codes
in Python, goes through `Sources`: a repository is replaced by a folder with its files, or gets the
revision that it is to have, and which one it was is kept.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets import Image

from unimm_eval.api import UserError, stable_hash

_SHA = re.compile(r"[0-9a-f]{40}")
_HUB_SECONDS = 10.0
_UNKNOWN = "unknown"


class BrokenPicture:
    """Stands for a picture that does not decode, until somebody looks at it."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python's own questions (copying, arrays)
            raise AttributeError(name)
        raise UserError(f"a picture that does not decode: {self._reason}")


class Sources:
    """Replaces `datasets.load_dataset` in this process."""

    def __init__(
        self,
        *,
        folder: str | None,
        revision: str | None,
        revisions: Mapping[str, str],
        settled: bool,
    ) -> None:
        """`folder` holds a copy of the task's repository; of the hub, `revision` is to be had, else
        the one in `revisions` for the repository, else the newest. Where that is `settled`, neither
        the hub nor the folder's files are looked at again."""
        self._folder = folder
        self._settled = settled
        self._revision = revision
        self._wanted = dict(revisions)
        self._load: Callable[..., Any] = datasets.load_dataset
        self.revisions: dict[str, str] = {}
        """What was loaded: a commit of the hub, or `sha256:…` of a folder's files."""
        self.moved: dict[str, str] = {}
        """Repositories whose newest commit is another one."""

    def install(self) -> None:
        datasets.load_dataset = self.load
        decode = Image.decode_example

        def decode_or_tell(self: Image, value: Any, token_per_repo_id: Any = None) -> Any:
            try:
                return decode(self, value, token_per_repo_id)
            except (OSError, SyntaxError, ValueError) as error:
                return BrokenPicture(str(error))

        Image.decode_example = decode_or_tell

    def load(self, path: str, name: str | None = None, **kwargs: Any) -> Any:
        """As `datasets.load_dataset`. Raises UserError telling how the data can be had."""
        if self._folder is not None:
            kwargs.pop("token", None)
            kwargs.pop("revision", None)
            if self._settled:
                self.revisions[path] = self._wanted[path]
            elif path not in self.revisions:
                self.revisions[path] = folder_revision(Path(self._folder))
            # The library's cache tells folders apart by their last name alone.
            cache = Path(kwargs.pop("cache_dir", None) or datasets.config.HF_DATASETS_CACHE)
            kwargs["cache_dir"] = str(cache / stable_hash(self.revisions[path]))
            return self._loaded(path, self._folder, name, kwargs)
        revision = self._revision or kwargs.pop("revision", None) or self._wanted.get(path)
        kwargs.pop("revision", None)
        newest = None if self._settled else _newest(path)
        revision = None if revision == _UNKNOWN else revision or newest
        if newest is not None and revision != newest:
            self.moved[path] = newest
        found = self._loaded(path, path, name, {**kwargs, "revision": revision})
        self.revisions[path] = revision or _cached_revision(found) or _UNKNOWN
        return found

    def _loaded(self, repository: str, path: str, name: str | None, kwargs: dict[str, Any]) -> Any:
        try:
            return self._load(path, name, **kwargs)
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"The data set {repository} cannot be loaded from "
                f"{path if path != repository else 'the hub'}: {type(error).__name__}: {reason}",
                fix="Where there is a network, it is fetched by itself. Elsewhere: hf download "
                f"--repo-type dataset {repository} --local-dir FOLDER, and name FOLDER as the "
                "task's `path`.",
            ) from error


def folder_revision(folder: Path) -> str:
    """The commit that a snapshot of the hub's cache is named by, else a hash of all its files."""
    if _SHA.fullmatch(folder.resolve().name):
        return folder.resolve().name
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {found}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _newest(repository: str) -> str | None:
    """The newest commit of a data set of the hub, or None where that cannot be known."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return HfApi().dataset_info(repository, timeout=_HUB_SECONDS).sha
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError, RuntimeError):
        return None


def _cached_revision(found: Any) -> str | None:
    """The commit in the path of a data set that came from the cache."""
    tables = list(found.values()) if isinstance(found, dict) else [found]
    parts = (part for table in tables for file in table.cache_files for part in _parts(file))
    return next((part for part in parts if _SHA.fullmatch(part)), None)


def _parts(file: Mapping[str, Any]) -> tuple[str, ...]:
    return Path(file["filename"]).parts


def image_columns(features: Mapping[str, Any]) -> list[str]:
    """Columns that hold a picture, or a list of pictures."""
    inner = {name: getattr(feature, "feature", feature) for name, feature in features.items()}
    return [name for name, feature in inner.items() if isinstance(feature, Image)]


def picture_digests(table: Any) -> Iterator[list[str]]:
    """For each row, hashes of its pictures' bytes (or of their paths), nothing decoded."""
    columns = image_columns(table.features)
    if not columns:
        yield from ([] for _ in range(len(table)))
        return
    for row in table.select_columns(columns).with_format("arrow").iter(batch_size=1):
        values = [value for column in columns for value in row[column].to_pylist()]
        flat = [
            item for value in values for item in (value if isinstance(value, list) else [value])
        ]
        yield [_digest(item) for item in flat if item is not None]


def _digest(stored: Mapping[str, Any]) -> str:
    data = stored["bytes"] if stored["bytes"] is not None else str(stored["path"]).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def join_gqa(instructions: Any) -> Any:
    """GQA's questions with their pictures, which are in a part of their own.

    lmms-eval decodes every picture and encodes it again, and stops at the first that does not
    decode. The same pictures result when their bytes are joined as they are.
    """
    import pyarrow as pa

    pictures = datasets.load_dataset(
        "lmms-lab-encoder/GQA", "testdev_balanced_images", split="testdev", token=True
    )
    stored = pictures.with_format("arrow")[:]
    place = {name: index for index, name in enumerate(stored["id"].to_pylist())}
    chosen = [place.get(name) for name in instructions["imageId"]]
    column = stored["image"].combine_chunks().take(pa.array(chosen, pa.int64()))
    return instructions.add_column("image", column, feature=Image())
