"""Networks that look at pictures in batches of one shape.

How a convolution is computed may depend on the shape of its input. When every batch has the same
shape, the last filled up with copies, what a network says of a picture does not depend on what it
was batched with, nor on where a run was stopped.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

BROKEN = (RuntimeError, ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError)
"""What loading weights raises when the file is not what it should be."""


def in_batches(
    network: "Callable[[Tensor], Tensor]",
    inputs: "Iterable[Tensor]",
    *,
    batch_size: int,
    device: str,
) -> Iterator[np.ndarray]:
    """float32 rows, one an input, of `network` (batch → [batch, ...]); inputs, all of one shape,
    are taken as they are needed."""
    import torch

    rest = iter(inputs)
    while part := list(islice(rest, batch_size)):
        filled = [*part, *[part[-1]] * (batch_size - len(part))]
        with torch.inference_mode(), exact_float32():
            rows = network(torch.stack(filled).to(device))[: len(part)].float().cpu().numpy()
        yield from rows


@contextmanager
def exact_float32() -> Iterator[None]:
    """Without TensorFloat-32 on a GPU, whose ten bits of mantissa would move a distance."""
    import torch

    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    ):
        yield
