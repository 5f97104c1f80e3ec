"""Weights of judges that run on this machine: where they lie, and what to do when they do not."""

from dataclasses import dataclass
from pathlib import Path

from unimm_eval.api import UserError
from unimm_eval.data import sha256_file

FOLDER = "judges"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The files of one judge.

    They lie in `judges/<name>/` of the data folder or, where the hub's repository `repo` has the
    same files, in the hub's cache. The first of `files` holds the weights. `obtain` tells a user
    how to get them; `{folder}` stands for their place.
    """

    name: str
    files: tuple[str, ...]
    obtain: str
    repo: str | None = None

    def place(self, data_dir: Path) -> Path:
        return data_dir / FOLDER / self.name

    def find(self, data_dir: Path) -> Path:
        """The folder that holds all files. Raises UserError naming what is missing and the way to
        get it; the network is never asked."""
        place = self.place(data_dir)
        missing = [name for name in self.files if not (place / name).is_file()]
        if not missing:
            return place
        if self.repo is not None and (cached := self._in_cache(self.repo)) is not None:
            return cached
        where = f" and the hub's cache has no whole {self.repo}" if self.repo else ""
        raise UserError(
            f"The weights of the judge {self.name} are not there: {place} lacks "
            f"{', '.join(missing)}{where}.",
            fix=self.obtain.format(folder=place),
        )

    def _in_cache(self, repo: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = [try_to_load_from_cache(repo, name) for name in self.files]
        paths = [Path(path) for path in found if isinstance(path, str)]
        return paths[0].parent if len(paths) == len(found) else None

    def sha256(self, data_dir: Path) -> str:
        """Identity of the weights: the hash of their file. Raises UserError."""
        return sha256_file(self.find(data_dir) / self.files[0])


def resolve_device(device: str) -> str:
    """`auto` is the first CUDA device, else the CPU. Raises UserError for one that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts that it has it
        raise UserError(
            f"There is no device {device!r} for a judge: {error}", fix="Use auto, cpu or cuda:0."
        ) from error
    return device
