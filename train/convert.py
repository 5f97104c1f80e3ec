"""Pickled weights to safetensors, once and by an explicit command.

Opening a pickle can run any code. `weights_only` lets torch build tensors and plain containers and
nothing else, so a file that wants more is refused with what it wanted.
"""

import os
import pickle
from pathlib import Path
from typing import Any

from unimm_eval.api import UserError

_WRAPPERS = ("state_dict", "model", "module")
"""Names under which training programs keep the weights, beside other things."""


def convert_pickle(source: Path, target: Path) -> int:
    """Write the tensors of a PyTorch file as safetensors; returns how many. Raises UserError."""
    import torch
    from safetensors.torch import save_file

    if target.suffix != ".safetensors":
        raise UserError(f"{target}: not a .safetensors file", fix="Give its name that ending.")
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{source}: refused, it holds more than tensors: {_reason(error)}",
            fix="Take weights that are published as safetensors, or from somebody you trust.",
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise UserError(f"{source}: not a PyTorch file ({_reason(error)})") from error
    tensors = _tensors(content, source)
    # Tensors that share memory are written out each for itself.
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    save_file(copies, partial, metadata={"format": "pt"})
    os.replace(partial, target)
    return len(copies)


def _tensors(content: Any, source: Path) -> dict[str, Any]:
    """A table of tensors, or the one that a training program's file holds. Raises UserError."""
    import torch

    table = content
    while isinstance(table, dict):
        others = [name for name, value in table.items() if not isinstance(value, torch.Tensor)]
        if not others and table:
            return {str(name): tensor for name, tensor in table.items()}
        inner = next((table[name] for name in _WRAPPERS if isinstance(table.get(name), dict)), None)
        if inner is None:
            raise UserError(
                f"{source}: not a table of tensors, but with {', '.join(map(str, others[:5]))}"
                if others
                else f"{source}: an empty table"
            )
        table = inner
    raise UserError(f"{source}: not a table of tensors but {type(table).__name__}")


def _reason(error: Exception) -> str:
    """The first sentence of torch's message that says what was found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "Unsupported" in line or "GLOBAL" in line), None)
    return told or (lines[0] if lines else type(error).__name__)
