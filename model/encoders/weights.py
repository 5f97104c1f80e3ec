"""Frozen weights of others: where they lie, what they must be, and what mends it when they miss.

Nothing is downloaded: weights are a folder of the user's, or stand in the Hugging Face cache.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)

PUBLISHED = {
    "google/siglip2-so400m-patch14-224": "about 4.5 GB",
    "nyu-visionx/siglip2_decoder": "about 1.7 GB",
    "nyu-visionx/RAE-dinov2-wReg-large-ViTXL-n08": "about 2.9 GB",
    "facebook/dinov2-with-registers-large": "about 1.2 GB",
    "facebook/webssl-dino300m-full2b-224": "about 1.2 GB",
    "nyu-visionx/webssl300m_decoder": "about 1.7 GB",
    "stabilityai/sd-vae-ft-mse": "about 0.3 GB",
    "black-forest-labs/FLUX.1-schnell": "about 0.2 GB",
}
"""Sizes of what is downloaded from the repositories that the encoders come from."""

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_PICKLES = ("*.pt", "*.pth", "*.bin", "*.ckpt")


class MissingWeights(ValueError):
    """Weights, or the library that reads them, are not here; `fix` says what mends it."""

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(f"{what} {fix}")
        self.what, self.fix = what, fix


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A hub repository or a folder with a config.json and safetensors.

    `sha256` is the fingerprint of the tensors. Where it is empty whatever is found is accepted;
    a loaded encoder carries the one it found, so a checkpoint pins what it was trained with.
    """

    source: str
    revision: str = "main"
    subfolder: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str):
                raise ValueError(f"{name} of weights must be a text, not {value!r}")
        if not self.source:
            raise ValueError("source of weights is empty")

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """From a table of fields, or from the source alone."""
        if isinstance(values, str):
            return cls(source=values)
        if not isinstance(values, dict):
            raise ValueError(f"weights must be a source or a table of fields, not {values!r}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"weights: {error}") from error

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    def same_place(self, other: "Weights") -> bool:
        """Whether the other weights stand in the same file."""
        return replace(self, sha256="") == replace(other, sha256="")

    def folder(self) -> Path:
        """The folder with config.json and safetensors. Raises MissingWeights."""
        folder = (Path(self.source) if self._is_folder else self._cached()) / self.subfolder
        if not (folder / "config.json").is_file():
            raise MissingWeights(f"{folder}: there is no config.json.", fix=self._fix())
        if not any(folder.glob("*.safetensors")):
            if pickles := sorted(path for kind in _PICKLES for path in folder.glob(kind)):
                raise MissingWeights(
                    f"{pickles[0]}: pickled weights are not read, opening one can run any code.",
                    fix="Convert it once: unimm-train convert "
                    f"{pickles[0]} {folder / 'model.safetensors'}",
                )
            raise MissingWeights(f"{folder}: there are no safetensors.", fix=self._fix())
        return folder

    def config(self) -> dict[str, Any]:
        """What config.json says. Raises MissingWeights and ValueError."""
        path = self.folder() / "config.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON ({error})") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path}: not a JSON object")
        return values

    def pinned(self, sha256: str) -> Self:
        """The weights with the fingerprint, and the commit, that were found. Raises ValueError
        when the fingerprint is not the one they should have."""
        if self.sha256 and self.sha256 != sha256:
            raise ValueError(
                f"{self.source}: other weights than the ones that were trained with; their "
                f"fingerprint is {sha256[:16]}…, not {self.sha256[:16]}…"
            )
        revision = self.revision if self._is_folder else self._cached().name
        return replace(self, sha256=sha256, revision=revision)

    @property
    def _is_folder(self) -> bool:
        return os.path.isdir(self.source)  # False for any text that cannot be a path, too

    def _cached(self) -> Path:
        """The snapshot in the hub's cache, a folder with the commit's name."""
        if _REPOSITORY.fullmatch(self.source):
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import LocalEntryNotFoundError

            try:
                return Path(
                    snapshot_download(self.source, revision=self.revision, local_files_only=True)
                )
            except LocalEntryNotFoundError:
                pass
        raise MissingWeights(f"The weights {self.source} are not here.", fix=self._fix())

    def _fix(self) -> str:
        if not _REPOSITORY.fullmatch(self.source):
            return "Put them there, with their config.json."
        size = PUBLISHED.get(self.source, "size unknown")
        files = f" --include '{self.subfolder}/*'" if self.subfolder else ""
        return (
            f"Download them ({size}): hf download {self.source} --revision {self.revision}{files}"
        )


def fingerprint(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    """SHA-256 over tensors by name, and over what of their configuration decides what they
    compute. The same weights have the same one in any file."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def frozen(module: Module, *, device: torch.device, dtype: torch.dtype) -> Module:
    """The module for inference only."""
    nn.Module.to(module, device=device, dtype=dtype)  # a library's own `to` may warn or refuse
    return module.eval().requires_grad_(False)


def library(name: str) -> None:
    """Raises MissingWeights when an optional library is not installed."""
    if importlib.util.find_spec(name) is None:
        raise MissingWeights(
            f"The weights are read by {name}, which is not installed.",
            fix=f"Install it: pip install 'unimm-eval[{name}]'",
        )


def from_folder(kind: Any, folder: Path) -> Any:
    """A network of transformers or diffusers from its folder, fp32 on the CPU, with every weight
    that it has. Raises ValueError, naming the folder."""
    try:
        with _quiet():
            network, report = kind.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{folder}: {kind.__name__} cannot read it: {reason}") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{folder}: weights are missing: {', '.join(missing[:5])}")
    return nn.Module.float(network)


def read_tensors(files: Iterable[Path]) -> dict[str, Tensor]:
    """All tensors of some safetensors files. Raises ValueError, naming the file."""
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    return tensors


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' reports of the weights of other towers in the same file."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
