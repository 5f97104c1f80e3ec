"""Weights of which a process may hold a shard (a DTensor), filled from whole ones.

A whole tensor is known to every rank, one at a time, so no message is sent and no more memory is
needed than for the largest of them.
"""

import torch
from torch import Tensor


@torch.no_grad()
def fill(parameter: Tensor, whole: Tensor) -> None:
    """Copy a whole tensor, or this rank's shard of it, into `parameter`."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(parameter, DTensor):
        parameter.copy_(whole)
        return
    whole = whole.to(parameter.device, parameter.dtype)
    shard = distribute_tensor(
        whole, parameter.device_mesh, parameter.placements, src_data_rank=None
    )
    parameter.to_local().copy_(shard.to_local())


@torch.no_grad()
def normal_(parameter: Tensor, *, std: float, generator: torch.Generator) -> None:
    """Normal numbers of deviation `std`, the same however the parameter is sharded."""
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        parameter.normal_(std=std, generator=generator)
        return
    whole = torch.empty(parameter.shape, device=parameter.device, dtype=parameter.dtype)
    fill(parameter, whole.normal_(std=std, generator=generator))
