"""AdamW on fp32 master weights, their moving average, and the learning-rate schedule."""

import math

import torch
from torch import Tensor, nn

from unimm_eval.train.parallel import Ranks
from unimm_eval.train.recipe import OptimizerRecipe

_MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(step: int, *, steps: int, recipe: OptimizerRecipe) -> float:
    """Rate of step `step` (0-based): linear warm-up, then constant with a linear decay at the end,
    or a cosine from the peak down; both end at the floor."""
    peak, floor = recipe.learning_rate, recipe.final_fraction
    if step < recipe.warmup_steps:
        return peak * (step + 1) / recipe.warmup_steps
    if recipe.schedule == "cosine":
        done = (step - recipe.warmup_steps) / max(steps - 1 - recipe.warmup_steps, 1)
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
    left = steps - step
    if left < recipe.decay_steps:
        return peak * (floor + (1 - floor) * left / recipe.decay_steps)
    return peak


class MasterWeights:
    """fp32 weights, which AdamW updates, and by choice their exponential moving average.

    They are a model's parameters where these are fp32, and copies of them otherwise: then gradients
    are copied to the masters and the updated masters back. Of sharded parameters (DTensors) each
    rank has and updates its shard. Parameters that want no gradient have masters, so that they are
    saved as they are, but no moments.
    """

    def __init__(self, model: nn.Module, recipe: OptimizerRecipe, *, ema: float | None = None):
        self.recipe, self.ema = recipe, ema
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = [parameter for _, parameter in model.named_parameters()]
        self.sharded = any(local(p) is not p for p in self.parameters)
        self.masters = [local(p).detach().float().requires_grad_() for p in self.parameters]
        self.averages = [m.detach().clone() for m in self.masters] if ema is not None else []
        trained = [
            master
            for master, parameter in zip(self.masters, self.parameters, strict=True)
            if parameter.requires_grad and master.numel()
        ]
        self.adamw = torch.optim.AdamW(
            [
                {
                    "params": [m for m in trained if m.ndim >= 2],
                    "weight_decay": recipe.weight_decay,
                },
                {"params": [m for m in trained if m.ndim < 2], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            fused=True,
        )
        self.moments = {
            name: {moment: torch.zeros_like(master.detach()) for moment in _MOMENTS}
            for name, master, parameter in zip(
                self.names, self.masters, self.parameters, strict=True
            )
            if parameter.requires_grad
        }
        self.updates = 0
        self._set_state()

    def step(self, rate: float, ranks: Ranks) -> Tensor:
        """Apply the gradients, summed over ranks, at `rate`; returns their norm before clipping.

        Gradients that are not finite are dropped, and nothing changes.
        """
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            gradient = parameter.grad
            master.grad = None if gradient is None else local(gradient).float()
            parameter.grad = None
        gradients = [master.grad for master in self.masters if master.grad is not None]
        if not self.sharded:
            ranks.sum_gradients(gradients)
        norm = nn.utils.get_total_norm(gradients)
        if self.sharded:  # every element is on one rank
            norm = ranks.sum(norm.square()).sqrt()
        if bool(norm.isfinite()):
            nn.utils.clip_grads_with_norm_(self.masters, self.recipe.max_grad_norm, norm)
            for group in self.adamw.param_groups:
                group["lr"] = rate
            self.adamw.step()
            self.updates += 1
            if self.ema is not None:
                masters = [master.detach() for master in self.masters]
                torch._foreach_lerp_(self.averages, masters, 1 - self.ema)
            self.write_back()
        for master in self.masters:
            master.grad = None
        return norm

    @torch.no_grad()
    def write_back(self) -> None:
        """Let the model compute with the masters."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if local(parameter).data_ptr() != master.data_ptr():
                local(parameter).copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Masters, moments and averages by name, whole or as DTensors; loading writes into them."""
        tensors: dict[str, Tensor] = {}
        for i, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True)):
            tensors[f"master/{name}"] = like(parameter, self.masters[i].detach())
            for moment, value in self.moments.get(name, {}).items():
                tensors[f"{moment}/{name}"] = like(parameter, value)
            if self.ema is not None:
                tensors[f"ema/{name}"] = like(parameter, self.averages[i])
        return tensors

    def loaded(self, *, updates: int) -> None:
        """Go on from what was written into the tensors of `state()`, after so many updates."""
        self.updates = updates
        self._set_state()
        self.write_back()

    def restart_average(self) -> None:
        """Let the average begin with the masters as they are."""
        for average, master in zip(self.averages, self.masters, strict=False):
            average.copy_(master.detach())

    def whole(self, *, ema: bool = False) -> dict[str, Tensor]:
        """fp32 weights, or their average, whole and on the CPU, where they may be those that are
        trained on. All ranks must ask for them."""
        from torch.distributed.tensor import DTensor

        source = self.averages if ema else self.masters
        weights = {}
        for name, parameter, shard in zip(self.names, self.parameters, source, strict=True):
            tensor = like(parameter, shard.detach())
            weights[name] = (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()
        return weights

    def _set_state(self) -> None:
        """Hand AdamW its moments; without updates it would make them itself at its first step."""
        for name, master in zip(self.names, self.masters, strict=True):
            if name in self.moments and master.numel():
                step = torch.tensor(float(self.updates), device=master.device)
                self.adamw.state[master] = {"step": step, **self.moments[name]}


def local(tensor: Tensor) -> Tensor:
    """This rank's shard of a DTensor; any other tensor as it is."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(parameter: Tensor, shard: Tensor) -> Tensor:
    """`shard` as the DTensor that it is part of, where `parameter` is one; else as it is."""
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return shard
    return DTensor.from_local(
        shard,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
