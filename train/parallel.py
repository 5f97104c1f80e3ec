"""The processes that train together: who they are, what device is theirs, and how they agree.

Every loss is a local sum divided by a count over all ranks, so gradients are *added*, not averaged:
a rank with few pictures does not weigh its pictures more.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unimm_eval.api import UserError

PATIENCE = timedelta(days=1)
"""How long ranks wait for one that evaluates or writes."""


class Ranks:
    """This process among those that `torchrun` started; alone without it.

    `device` is "cpu", "cuda" or "auto": the GPU of this process's local rank where there are GPUs.
    Tensors on a GPU are exchanged by NCCL, those on a CPU by gloo. Raises UserError where there is
    no such device.
    """

    def __init__(self, device: str = "auto") -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        self._side: dist.ProcessGroup | None = None
        if self.size > 1:
            if not dist.is_initialized():
                dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            self._side = self.new_group()

    @property
    def first(self) -> bool:
        """Whether this rank writes files and messages."""
        return self.rank == 0

    def new_group(self) -> dist.ProcessGroup | None:
        """All ranks once more, over gloo, for messages that may cross others. None when alone."""
        if self.size == 1:
            return None
        group = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(group, dist.ProcessGroup)  # of which this rank is a member
        return group

    def sum(self, values: Tensor) -> Tensor:
        """Sum over ranks, without gradient."""
        values = values.detach().clone()
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any rank says so; all ranks hear the same answer."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag))
        dist.all_reduce(said, group=self._side)
        return bool(said)

    def wait(self) -> None:
        """Until all ranks are here."""
        self.any(False)

    def gather(self, value: Any, *, group: dist.ProcessGroup | None = None) -> list[Any]:
        """What each rank gives, in the order of ranks; plain values such as strings and tables."""
        if self.size == 1:
            return [value]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, value, group=group or self._side)
        return gathered

    def sum_gradients(self, gradients: Sequence[Tensor]) -> None:
        """Replace each gradient by its sum over ranks, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, total in zip(
            gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))


def _device(name: str, local_rank: int) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {name}: neither auto nor cpu nor cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"there is no GPU for local rank {local_rank}, of {torch.cuda.device_count()} GPUs",
            fix="Start as many processes a machine as it has GPUs, or give --device cpu.",
        )
    return torch.device("cuda", local_rank)
