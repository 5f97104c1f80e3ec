"""A model that has every shape and no memory, in milliseconds.

Weights on the meta device are counted, checked against a file or sharded before any of them is
allocated.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from unimm_eval.model.config import ModelConfig
from unimm_eval.model.unified import UnifiedModel


def meta_model(config: ModelConfig) -> UnifiedModel:
    """The model of `config` on the meta device, its weights not initialised."""
    with torch.device("meta"), _WithoutInit():
        return UnifiedModel(config)


class _WithoutInit(TorchFunctionMode):
    """Leaves new parameters as they are. On the meta device there is nothing to initialise, yet
    `normal_` would import torch's reference implementations for it, which takes seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
