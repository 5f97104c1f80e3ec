"""`rollout`: driving by keys and words; `rollout:mini` where the truth is known."""

from unimm_eval.tasks.rollout.mini import RolloutMini
from unimm_eval.tasks.rollout.official import Rollout

__all__ = ["Rollout", "RolloutMini"]
