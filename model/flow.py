"""Flow matching in data time: t = 0 is noise, t = 1 is data (paper §2.1).

z_t = (1 − t)·ε + t·z0, velocity v = z0 − ε, hence z0 = z_t + (1 − t)·v and ε = z_t − t·v.
"""

import math

import torch
from torch import Tensor

CLAMP = 0.05
"""Smallest 1 − t that a velocity is built with from a predicted z0 (JiT)."""

SHIFT_BASE = 4096
"""Latent size (tokens × channels) whose schedule is not shifted (RAE)."""


def shift_factor(num_tokens: int, channels: int) -> float:
    """α = √(tokens·channels / 4096): larger latents need more noise to hide the same share of
    the picture (RAE, after Esser et al. 2024)."""
    return math.sqrt(num_tokens * channels / SHIFT_BASE)


def shift_time(t: Tensor, alpha: float) -> Tensor:
    """t' = t / (t + α(1 − t)): towards noise for α > 1, fixing 0 and 1. In noise time τ = 1 − t it
    is the usual ατ / (1 + (α − 1)τ)."""
    return t / (t + alpha * (1 - t))


def logit_normal(u: Tensor, *, mean: float, std: float) -> Tensor:
    """The u-quantile of σ(mean + std·N): uniform numbers become times whose logit is normal (Esser
    et al. 2024, there in noise time, which changes the sign of the mean)."""
    return torch.sigmoid(mean + std * torch.special.ndtri(u))


def noisy(z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """z_t; `t` broadcasts against the latents."""
    return (1 - t) * noise + t * z0


def velocity_from_x(x: Tensor, z_t: Tensor, t: Tensor, *, clamp: float = CLAMP) -> Tensor:
    """Velocity that leads from z_t to the predicted z0 = x."""
    return (x - z_t) / (1 - t).clamp(min=clamp)


def euler_times(num_steps: int, alpha: float, *, device: torch.device | None = None) -> Tensor:
    """The `num_steps` + 1 shifted times of an Euler solver, from exactly 0 to exactly 1."""
    return shift_time(torch.linspace(0, 1, num_steps + 1, device=device), alpha)
