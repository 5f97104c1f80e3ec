"""Statistics of the reference pictures: made once, kept under the data folder.

`fid/<key>.npz` holds mean, covariance and count; the key is a hash of what the pictures contain and
of the definition with its weights, so a file is never that of other pictures, and the same pictures
elsewhere find it.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unimm_eval.api import Picture, UserError, stable_hash
from unimm_eval.data import ENVIRONMENT
from unimm_eval.judges.inception import Inception
from unimm_eval.tasks.cc12m.folder import Captioned
from unimm_eval.tasks.fid.frechet import Statistics, statistics_of


def reference_statistics(
    pictures: Sequence[Captioned], *, load: Callable[[], Inception], identity: str, data_dir: Path
) -> Statistics:
    """Read, or made with the network that `load` gives and kept. `identity` is of the definition.

    Raises UserError when a picture has become unreadable or nothing can be kept.
    """
    ordered = sorted(pictures, key=lambda picture: picture.sha256)
    key = stable_hash([identity, [picture.sha256 for picture in ordered]])
    path = data_dir / "fid" / f"{key}.npz"
    kept = _read(path)
    if kept is not None:
        return kept
    arrays = (Picture(path=picture.file).load() for picture in ordered)
    made = statistics_of(load().features(arrays))
    _keep(path, made)
    return made


def _read(path: Path) -> Statistics | None:
    """None where there is no whole file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Statistics(mean=file["mean"], covariance=file["covariance"], n=int(file["n"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(path: Path, made: Statistics) -> None:
    """The whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, mean=made.mean, covariance=made.covariance, n=made.n)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"The statistics of the reference pictures cannot be kept at {path}: {error.strerror}.",
            fix=f"Name a folder that can be written with --data-dir or ${ENVIRONMENT}.",
        ) from error
