"""Training state on disk: `state-<step>.safetensors`, written aside, synced and renamed.

The newest whole file is where a run goes on; the one before it is kept, so a kill at any moment
leaves at least one.
"""

import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from unimm_eval.api import IncompleteError, UserError

KEEP = 2


def save_state(folder: Path, *, step: int, tensors: dict[str, Tensor], identity: str) -> Path:
    """Write the state after `step` steps; states older than the last two are removed.

    Raises IncompleteError when it cannot be written; nothing half-written is left.
    """
    path = folder / f"state-{step:07d}.safetensors"
    partial = path.with_suffix(".partial")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, partial, metadata={"step": str(step), "recipe": identity})
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise IncompleteError(
            f"{path} cannot be written ({error}); the state before it is kept",
            fix="Make room and give the same command to go on.",
        ) from error
    for old in sorted(folder.glob("state-*.safetensors"))[:-KEEP]:
        old.unlink()
    return path


def load_state(
    folder: Path, *, identity: Callable[[int], str]
) -> tuple[int, dict[str, Tensor], list[str]] | None:
    """(step, tensors, warnings) of the newest whole state, None where there is none.

    `identity` gives what the state after a step must have been saved with. Raises UserError when it
    belongs to another recipe, or when there are states and none is whole.
    """
    warnings: list[str] = []
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            warnings.append(f"{path.name} is damaged ({error})")
            continue
        step = int(metadata.get("step", 0))
        if metadata.get("recipe") != identity(step):
            raise UserError(
                f"{path}: this state belongs to another recipe",
                fix="Train in another --output folder, or use the recipe it was started with.",
            )
        return step, tensors, warnings
    if warnings:  # beginning anew would throw away the log of what was trained
        raise UserError(
            f"{folder}: no state is whole: {'; '.join(warnings)}",
            fix="Bring a whole state back, or train in another --output folder.",
        )
    return None
