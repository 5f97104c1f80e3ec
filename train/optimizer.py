"""AdamW on fp32 master weights, and the learning-rate schedule."""

import torch
from torch import Tensor, nn

from unimm_eval.train.parallel import Ranks
from unimm_eval.train.recipe import OptimizerRecipe


def learning_rate(step: int, *, steps: int, recipe: OptimizerRecipe) -> float:
    """Rate of step `step` (0-based): linear warm-up, constant, linear decay to the floor."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    left = steps - step
    if left < recipe.decay_steps:
        floor = recipe.final_fraction
        return recipe.learning_rate * (floor + (1 - floor) * left / recipe.decay_steps)
    return recipe.learning_rate


class MasterWeights:
    """fp32 copies of a model's parameters, which AdamW updates.

    The model may compute in bf16: its gradients are copied to the masters, clipped by their global
    norm, and the updated masters copied back.
    """

    def __init__(self, model: nn.Module, recipe: OptimizerRecipe) -> None:
        self.recipe = recipe
        self.names = [name for name, _ in model.named_parameters()]
        self.parameters = [parameter for _, parameter in model.named_parameters()]
        self.masters = [p.detach().float().clone().requires_grad_() for p in self.parameters]
        decayed = [m for m in self.masters if m.ndim >= 2]
        others = [m for m in self.masters if m.ndim < 2]
        self.adamw = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            fused=True,
        )

    def step(self, rate: float, ranks: Ranks) -> Tensor:
        """Apply the gradients, summed over ranks, at `rate`; returns their norm before clipping."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        ranks.sum_gradients([master.grad for master in self.masters if master.grad is not None])
        norm = nn.utils.clip_grad_norm_(self.masters, self.recipe.max_grad_norm)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        self.write_back()
        return norm

    @torch.no_grad()
    def write_back(self) -> None:
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            parameter.copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Masters and moments as flat tensors by name."""
        tensors: dict[str, Tensor] = {}
        for name, master in zip(self.names, self.masters, strict=True):
            tensors[f"master/{name}"] = master.detach()
            for key, value in self.adamw.state.get(master, {}).items():
                tensors[f"{key}/{name}"] = value
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(tensors[f"master/{name}"])
            self.adamw.state[master] = {
                key: tensors[f"{key}/{name}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}/{name}" in tensors
            }
        self.write_back()
