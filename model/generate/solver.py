"""From noise to data along a velocity field, on a shifted grid from exactly t = 0 to exactly 1."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, get_args

from torch import Tensor

from unimm_eval.model import flow

Solver = Literal["euler", "heun"]

GUIDANCE_SCALE = 3.0
NUM_INFERENCE_STEPS = 25
"""What the paper generates with (appendix E.3)."""


def num_evaluations(num_steps: int, solver: Solver) -> int:
    """How often the velocity is asked for: n of Euler, 2n − 1 of Heun."""
    return num_steps if solver == "euler" else 2 * num_steps - 1


def solve(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    *,
    num_steps: int,
    alpha: float,
    solver: Solver = "euler",
) -> Tensor:
    """Integrate dz/dt = velocity(z, t) over `num_steps` steps from `noise`.

    Heun's method corrects each Euler step by the velocity where it arrived, and is of second order.
    Its last step is an Euler step, as in JiT: an x-predicting model has no velocity at t = 1, where
    it would divide by 1 − t. One step's error is of second order, so the whole remains so; but the
    shift makes the last step the widest, α / (n − 1 + α) of the way, and with a large α that step
    is most of the error: on the exact flow of Gaussian data n steps of Heun are 11 × nearer than
    2n of Euler at n = 25 and α = 1, 3 × at α = 2, and further away at α = 8.

    Raises ValueError for an unknown solver or less than one step.
    """
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {get_args(Solver)}, not {solver!r}")
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    times = flow.euler_times(num_steps, alpha, device=noise.device)
    z, last = noise, num_steps - 1
    for step, (t, following) in enumerate(pairwise(times)):
        v = velocity(z, t)
        if solver == "heun" and step < last:
            v = (v + velocity(z + (following - t) * v, following)) / 2
        z = z + (following - t) * v
    return z
