"""How a model is laid over devices, in this order:

1. Experts (expert parallelism): the experts of each layer are shared out over `expert_parallel`
   neighbouring ranks, among which tokens travel. First, for what follows must see the weights that
   a rank really has.
2. Recomputation (activation checkpointing): each block keeps its input alone and computes the rest
   again in the backward pass. Inside the compiled block, so that the compiler sees both passes.
3. Compilation: each block by itself, for they are alike.
4. Sharding (FSDP2): each block is a unit whose weights are gathered before it is computed and freed
   behind it. Last, so that its hooks stay outside of what is compiled. Sharded weights are fp32,
   and are the optimizer's; they are gathered in the recipe's dtype, and gradients summed in fp32.
   Routers are units of their own, gathered in fp32. Experts that are shared out over E ranks are
   sharded further over the world / E ranks that have the same ones.

Gradients are added over ranks and never divided, since each rank's loss already is its part of the
loss of the whole batch. None of this changes what is computed: a layout belongs to a command, not
to a recipe, and a run may go on in another one.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.utils.checkpoint import checkpoint

from unimm_eval.api import UserError
from unimm_eval.model.config import ModelConfig
from unimm_eval.model.dispatch import ExpertGroup
from unimm_eval.model.feedforward import MixtureOfExperts
from unimm_eval.model.meta import meta_model
from unimm_eval.model.unified import UnifiedModel
from unimm_eval.train.parallel import Ranks

_FLEX_HEAD_DIM = 16
"""Least head dimension of flex attention's kernels."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Choices of a command. Without `fsdp` every rank has all weights; `expert_parallel` ranks
    share out the experts, which needs `fsdp`."""

    fsdp: bool = False
    expert_parallel: int = 1
    recompute: bool = False
    compile: bool = False

    def check(self, config: ModelConfig, ranks: Ranks) -> None:
        """Raises UserError, naming the option, for what cannot work."""
        if self.expert_parallel == 1:
            return
        count = self.expert_parallel
        what = f"--expert-parallel {count}: "
        if not self.fsdp:
            raise UserError(f"{what}experts are shared out of sharded models", fix="Add --fsdp.")
        if config.feed_forward != "moe":
            raise UserError(f"{what}the model has no experts, its FFN is {config.feed_forward}")
        if ranks.size % count:
            raise UserError(f"{what}{ranks.size} ranks cannot be split into groups of {count}")
        if config.num_experts % count:
            raise UserError(
                f"{what}{config.num_experts} experts cannot be shared by {count} ranks",
                fix="Give a divisor of model.num_experts, which counts shared experts too.",
            )
        copies = ranks.size // count
        for name in ("dim", "expert_dim"):
            if getattr(config, name) % copies:
                raise UserError(
                    f"{what}model.{name} {getattr(config, name)} cannot be sharded over the "
                    f"{copies} ranks that have the same experts",
                    fix="Give a larger --expert-parallel.",
                )


def build_model(
    config: ModelConfig, layout: Layout, ranks: Ranks, *, dtype: torch.dtype, seed: int
) -> UnifiedModel:
    """The model of a run with its random weights, fp32, the same in every layout.

    It is laid out without memory, so that no rank ever has more than its shard and one whole
    tensor. Raises UserError for a layout that cannot work.
    """
    layout.check(config, ranks)
    model = meta_model(config)
    device = ranks.device
    experts = None
    if layout.expert_parallel > 1:
        shape = (ranks.size // layout.expert_parallel, layout.expert_parallel)
        experts = init_device_mesh(device.type, shape, mesh_dim_names=("copies", "experts"))
        for module in _mixtures(model):
            _share_out(module, experts["experts"])
    if layout.recompute:
        for block in model.backbone.blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if layout.compile:
        for block in model.backbone.blocks:
            block.forward = torch.compile(block.forward)
    if layout.fsdp:
        world = init_device_mesh(device.type, (ranks.size,), mesh_dim_names=("ranks",))
        _shard(model, world, None if experts is None else experts["copies"], dtype=dtype)
    model.to_empty(device=device)
    if device.type == "cuda" and config.head_dim >= _FLEX_HEAD_DIM:
        model.attention_backend = "flex"
    return model.initialise(seed=seed)


def _mixtures(model: nn.Module) -> list[MixtureOfExperts]:
    return [module for module in model.modules() if isinstance(module, MixtureOfExperts)]


def _share_out(module: MixtureOfExperts, mesh: DeviceMesh) -> None:
    """Leave this rank the weights of its experts."""
    from torch.distributed.tensor import Shard, distribute_tensor

    for name in ("gate_up_EDF", "down_EFD"):
        shard = distribute_tensor(getattr(module, name).data, mesh, [Shard(0)], src_data_rank=None)
        setattr(module, name, nn.Parameter(shard))
    module.group = ExpertGroup(mesh.get_group(), num_experts=module.num_experts)


def _shard(
    model: UnifiedModel, world: DeviceMesh, copies: DeviceMesh | None, *, dtype: torch.dtype
) -> None:
    from torch.distributed.fsdp import (
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )
    from torch.distributed.tensor import Shard

    fp32 = MixedPrecisionPolicy(cast_forward_inputs=False)
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for module in _mixtures(model):
        fully_shard(module.router, mesh=world, mp_policy=fp32)
        if copies is not None:  # experts come first in their shape, so they are cut across it
            fully_shard(
                module, mesh=copies, mp_policy=policy, shard_placement_fn=lambda _: Shard(1)
            )
    for block in model.backbone.blocks:
        fully_shard(block, mesh=world, mp_policy=policy)
    fully_shard(model, mesh=world, mp_policy=policy)
    register_fsdp_forward_method(model, "losses")
    for unit in model.modules():
        if isinstance(unit, FSDPModule):
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
