"""What a study costs before anything is trained, by arithmetic alone (`model/counts.py`)."""

from dataclasses import asdict, dataclass
from typing import Any

from unimm_eval.api import UserError
from unimm_eval.model.counts import count_parameters
from unimm_eval.train.budget import training_flops_per_token
from unimm_eval.train.sweep import Run

PEAK_FLOPS = 989e12
"""Dense bf16 of an H100 SXM or an H200, per second."""
MFU = 0.35
"""Share of the peak that training reaches; torchtitan's is 33 to 39% on H100 (FSDP, bf16)."""
CONVENTION = (
    "FLOPs: of training, torchtitan's convention: 6 · (active weights but the input embedding) + "
    "12 · layers · heads · head_dim · row length a token, every token counted as text."
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One run: weights, those of them that a token uses, tokens, FLOPs, hours of one GPU."""

    params: int
    active_params: int
    steps: int
    tokens: int
    flops: float
    gpu_hours: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cost_of(run: Run, *, mfu: float = MFU, peak_flops: float = PEAK_FLOPS) -> Cost:
    """Tokens fill their rows here; packing leaves some percent empty. Raises UserError."""
    if not (0 < mfu <= 1 and peak_flops > 0):
        raise UserError(f"--mfu {mfu:g}, --peak-flops {peak_flops:g}: not a share of a peak")
    recipe = run.recipe
    config = recipe.model_config_()
    counts = count_parameters(config)
    tokens = recipe.steps * recipe.rows * recipe.length
    flops = tokens * training_flops_per_token(config, length=recipe.length)
    return Cost(
        params=counts.total,
        active_params=counts.active,
        steps=recipe.steps,
        tokens=tokens,
        flops=flops,
        gpu_hours=flops / (mfu * peak_flops) / 3600,
    )
