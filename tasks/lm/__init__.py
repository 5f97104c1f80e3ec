"""`lm:TASK`: any task of lm-eval, in its own words and with its own scoring."""

from unimm_eval.tasks.lm.task import LmTask

__all__ = ["LmTask"]
