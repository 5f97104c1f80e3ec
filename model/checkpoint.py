"""A checkpoint folder: config.json, model.safetensors, tokenizer.json, encoder.json, training.json.

`config.json` carries the SHA-256 of the weights, so a damaged or altered file is noticed before a
number is computed from it. Only safetensors is read: other formats can run code when opened.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.encoders import Encoder, check_widths, encoder_from_json
from unimm_eval.model.meta import meta_model
from unimm_eval.model.tokenizer import Tokenizer
from unimm_eval.model.unified import UnifiedModel

SCHEMA_VERSION = 1
WEIGHTS = "model.safetensors"
FILES = ("config.json", WEIGHTS, "tokenizer.json", "encoder.json", "training.json")


class CheckpointError(ValueError):
    """A folder that is not a whole checkpoint of ours; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """What can be known of a checkpoint without allocating it."""

    folder: Path
    config: ModelConfig
    encoder: Encoder
    training: dict[str, Any]
    weights_sha256: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the folder's files; the weights enter by their own hash."""
        digest = hashlib.sha256()
        for name in FILES:
            content = (
                self.weights_sha256.encode()
                if name == WEIGHTS
                else (self.folder / name).read_bytes()
            )
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A loaded checkpoint."""

    files: CheckpointFiles
    model: UnifiedModel
    tokenizer: Tokenizer


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_checkpoint(
    folder: Path,
    *,
    model: UnifiedModel,
    tokenizer: Tokenizer,
    encoder: Encoder,
    training: dict[str, Any],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write a checkpoint; `config.json` last, so that a folder with it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial)
    os.replace(partial, folder / WEIGHTS)
    tokenizer.save(folder / "tokenizer.json")
    _write_json(folder / "encoder.json", encoder.to_json())
    _write_json(folder / "training.json", training)
    config = {
        "schema_version": SCHEMA_VERSION,
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "model": model.config.to_json(),
    }
    _write_json(folder / "config.json", config)


def read_checkpoint(folder: Path) -> CheckpointFiles:
    """Read and check everything but the weights. Raises CheckpointError."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder}: not a whole checkpoint, missing {', '.join(missing)}")
    config = _read_json(folder / "config.json")
    version = config.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{folder / 'config.json'}: schema version {version!r}, but this program reads "
            f"{SCHEMA_VERSION}"
        )
    if not isinstance(config.get("model"), dict) or not isinstance(
        config.get("weights_sha256"), str
    ):
        raise CheckpointError(f"{folder / 'config.json'}: needs `model` and `weights_sha256`")
    try:
        architecture = ModelConfig.from_json(config["model"])
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from error
    try:
        encoder = encoder_from_json(_read_json(folder / "encoder.json"))
    except ValueError as error:
        raise CheckpointError(f"{folder / 'encoder.json'}: {error}") from error
    try:
        check_widths(encoder, architecture)
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return CheckpointFiles(
        folder=folder,
        config=architecture,
        encoder=encoder,
        training=_read_json(folder / "training.json"),
        weights_sha256=config["weights_sha256"],
    )


def load_checkpoint(folder: Path, *, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Read, verify and allocate. Raises CheckpointError."""
    files = read_checkpoint(folder)
    weights = folder / WEIGHTS
    if file_sha256(weights) != files.weights_sha256:
        raise CheckpointError(
            f"{weights}: damaged or altered, its SHA-256 is not the one in config.json"
        )
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights}: not a whole safetensors file ({error})") from error
    if files.config.num_layers > len(tensors):  # known without building that many
        raise CheckpointError(
            f"{weights}: does not fit config.json, which has {files.config.num_layers} layers"
        )
    model = meta_model(files.config)
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in tensors.items()}
    if wanted != found:
        differing = sorted(
            name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
        )
        raise CheckpointError(
            f"{weights}: does not fit config.json; differing tensors: {', '.join(differing[:5])}"
        )
    model.load_state_dict(tensors, assign=True)
    model.cast(dtype).to(device).eval().requires_grad_(False)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if tokenizer.vocab_size != files.config.vocab_size:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: {tokenizer.vocab_size} tokens, but the model has "
            f"{files.config.vocab_size}"
        )
    return Checkpoint(files=files, model=model, tokenizer=tokenizer)


def untrained_model(
    files: CheckpointFiles, *, device: torch.device, dtype: torch.dtype
) -> UnifiedModel:
    """The model of a checkpoint before it was trained, as if it had been saved and loaded."""
    model = UnifiedModel(files.config).initialise(seed=int(files.training.get("seed", 0)))
    saved = model.to(torch.bfloat16)
    return saved.cast(dtype).to(device).eval().requires_grad_(False)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return values
