"""Where the files of a transformers model are, and what they are before any weight is read.

A spec is `hf:` and a folder, or a repository of the hub, at a revision or at its main branch. A
repository is identified by the commit that the revision stands for, so that a branch that moved is
another model; a folder by the hashes of its files. Weights are read from safetensors alone, and no
code of a repository is run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError, stable_hash
from unimm_eval.data import sha256_file

PREFIX = "hf:"
CONFIG = "config.json"
WEIGHTS = "*.safetensors"
_FILES = ("*.json", "*.jinja", "*.txt", "*.model", WEIGHTS)
"""All that is read: weights, configurations, tokenizer. Anything else is left on the hub."""
_SKIPPED = ("consolidated*",)
"""The same weights again, of another library."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a model of files is known by. `facts` say where the weights are from, for the record."""

    name: str
    fingerprint: str
    facts: Mapping[str, Any]


class FromFiles:
    """A model that is known by its files."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    @property
    def name(self) -> str:
        return self._origin.name

    @property
    def fingerprint(self) -> str:
        return self._origin.fingerprint


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A folder, or a repository with the revision that was asked for (None: its main branch).

    `files` are patterns of all that is read of it, and `skipped` of what is not fetched for all
    that.
    """

    place: str
    revision: str | None = None
    prefix: str = PREFIX
    files: tuple[str, ...] = _FILES
    skipped: tuple[str, ...] = _SKIPPED

    @classmethod
    def parse(
        cls,
        spec: str,
        *,
        prefix: str = PREFIX,
        files: tuple[str, ...] = _FILES,
        skipped: tuple[str, ...] = _SKIPPED,
    ) -> "HubSource":
        """Raises UserError when the spec is neither a folder nor ORG/NAME."""
        place = spec.removeprefix(prefix)
        made = cls(place=place, prefix=prefix, files=files, skipped=skipped)
        if place and Path(place).expanduser().is_dir():
            return replace(made, place=str(Path(place).expanduser()))
        repository, _, revision = place.partition("@")
        parts = repository.split("/")
        if len(parts) > 2 or not all(parts) or repository.startswith((".", "~")):
            raise UserError(f"{spec}: {repository!r} is no folder and no repository.", fix=made.fix)
        return replace(made, place=repository, revision=revision or None)

    @property
    def fix(self) -> str:
        at = self.prefix
        return f"Give --model {at}ORG/NAME, {at}ORG/NAME@REVISION or {at}FOLDER."

    @property
    def is_folder(self) -> bool:
        return Path(self.place).is_dir()

    @property
    def name(self) -> str:
        return Path(self.place).resolve().name if self.is_folder else self.place.split("/")[-1]

    def fetch(self, *, weights: bool) -> Path:
        """The folder that holds the files; those of a repository come into the hub's cache, or are
        there already. Raises UserError."""
        if self.is_folder:
            return Path(self.place)
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        wanted = [name for name in self.files if weights or not name.endswith(WEIGHTS)]
        at = f" --revision {self.revision}" if self.revision else ""
        try:
            found = snapshot_download(
                self.place,
                revision=self.revision,
                allow_patterns=wanted,
                ignore_patterns=[*self.skipped],
            )
        except (
            LocalEntryNotFoundError,
            HfHubHTTPError,
            httpx.HTTPError,
            OSError,
            ValueError,
        ) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{self.prefix}{self.place}: cannot be fetched, and is not in the hub's cache: "
                f"{reason}",
                fix=f"Where there is a network: hf download {self.place}{at}. {self.fix}",
            ) from error
        return Path(found)

    def fingerprint(self, folder: Path) -> str:
        """Of the commit that `folder` is a snapshot of, or of the content of a folder's files."""
        if self.is_folder:
            paths = sorted({path for pattern in self.files for path in folder.glob(pattern)})
            rows = [[path.relative_to(folder).as_posix(), sha256_file(path)] for path in paths]
        else:
            rows = [[self.place, folder.name]]
        return stable_hash(rows, length=64)

    def origin(self, folder: Path) -> Origin:
        """Whose files `folder` holds."""
        facts = (
            {"repository": None, "revision": None}
            if self.is_folder
            else {"repository": self.place, "revision": folder.name}
        )
        return Origin(name=self.name, fingerprint=self.fingerprint(folder), facts=facts)


def read_config(source: HubSource, folder: Path) -> Any:
    """The model's configuration. Raises UserError when transformers has no such model."""
    import transformers

    with refused(source):
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)


def check_weights(source: HubSource, folder: Path) -> None:
    """Raises UserError when there are no weights in safetensors."""
    if any(folder.glob(WEIGHTS)):
        return
    pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern)]
    why = f", only {', '.join(sorted(pickled)[:3])}, and pickles are not read" if pickled else ""
    raise UserError(
        f"{source.prefix}{source.place}: there are no weights in safetensors{why}.",
        fix="Save the model with save_pretrained, or choose a revision that has safetensors.",
    )


@contextmanager
def refused(source: HubSource) -> Iterator[None]:
    """What transformers says of files that it cannot use, as UserError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        ImportError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own repository, which is not run"
        raise UserError(
            f"{source.prefix}{source.place} cannot be loaded: {reason}", fix=source.fix
        ) from error


def load_weights(
    source: HubSource, folder: Path, config: Any, *, network: Any, device: str, dtype: str
) -> Any:
    """A model of the class `network` of transformers with all of its weights; `dtype` "auto" is the
    one that they were saved in. Raises UserError when some are missing."""
    import torch

    check_weights(source, folder)
    with refused(source):
        model, loading = network.from_pretrained(
            folder,
            config=config,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    mismatched = {key for key, *_ in loading["mismatched_keys"]}
    if missing := sorted({*loading["missing_keys"], *mismatched}):
        raise UserError(
            f"{source.prefix}{source.place} lacks {len(missing)} weights, which would be random: "
            f"{missing[0]}, …",
            fix="Choose a whole checkpoint of this architecture.",
        )
    return model.to(device).eval()
